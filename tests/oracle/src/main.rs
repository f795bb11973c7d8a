//! Holds our S3 dialect against Amazon's own SDK, on many random requests.
//!
//! Each *case* is one operation with nasty keys, markers, headers and credentials, at one place and time. The SDK's whole
//! pipeline makes a request of some of them, which a client in memory catches: method, address, headers and body must be
//! ours, but for what the SDK says of itself; and our signer, given the request that the SDK signed, must come to the
//! same signature. Of all others the signer that the SDK uses signs our very request.
//!
//! `s3-oracle [CASES] [SEED]`. What differs is printed with the seed of its case; the last line has the counts.

mod case;
mod compare;
mod random;
mod sdk;
mod signer;

use std::{
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use self::{case::Case, sdk::Sdk};

/// Cases of each operation that go through the SDK's pipeline; the rest of all cases goes through its signer alone.
const PIPELINE_PER_OPERATION: u64 = 2_500;
const CASES: u64 = 130_000;
const COMPLAINTS_MAX: usize = 20;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse().expect("numbers: how many cases, and a seed"));
    let (cases, seed) = (arguments.next().unwrap_or(CASES), arguments.next().unwrap_or(1));
    let tally = Tally::default();
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, |count| count.get().min(2)) {
            scope.spawn(|| {
                let sdk = Sdk::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= cases {
                        return;
                    }
                    examine(&sdk, number, seed, &tally);
                }
            });
        }
    });
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    println!(
        "figure  oracle: {} signatures equal, {} of them the SDK's own in headers and {} in URLs; {} requests equal",
        count(&tally.headers) + count(&tally.urls) + count(&tally.signer),
        count(&tally.headers),
        count(&tally.urls),
        count(&tally.requests),
    );
    let failed = count(&tally.failed);
    println!("{} passed, {failed} failed", cases - failed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[derive(Default)]
struct Tally {
    /// Signatures in headers that the pipeline made.
    headers: AtomicU64,
    /// Signatures in URLs that the pipeline made.
    urls: AtomicU64,
    /// Signatures that the signer made of our requests.
    signer: AtomicU64,
    /// Requests of the pipeline that were ours as well.
    requests: AtomicU64,
    failed: AtomicU64,
    complaints: Mutex<usize>,
}

fn examine(sdk: &Sdk, number: u64, seed: u64, tally: &Tally) {
    let case = Case::new(number, seed);
    let by_pipeline = number / case::OPERATIONS < PIPELINE_PER_OPERATION;
    let outcome = if by_pipeline { through_pipeline(sdk, &case, tally) } else { through_signer(&case, tally) };
    if let Err(why) = outcome {
        tally.failed.fetch_add(1, Ordering::Relaxed);
        let mut complaints = tally.complaints.lock().expect("nobody panics while complaining");
        *complaints += 1;
        if *complaints <= COMPLAINTS_MAX {
            println!("case {number} of seed {seed}, {}: {why}\n{case:#?}", case.operation.name());
        }
    }
}

fn through_pipeline(sdk: &Sdk, case: &Case, tally: &Tally) -> Result<(), String> {
    let theirs = sdk.request(case);
    compare::request(case, &theirs)?;
    tally.requests.fetch_add(1, Ordering::Relaxed);
    compare::signature(case, &theirs)?;
    tally.headers.fetch_add(1, Ordering::Relaxed);
    if let Some(theirs) = sdk.presigned(case) {
        compare::presigned(case, &theirs)?;
        tally.urls.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

fn through_signer(case: &Case, tally: &Tally) -> Result<(), String> {
    signer::sign(case)?;
    signer::presign(case)?;
    tally.signer.fetch_add(2, Ordering::Relaxed);
    Ok(())
}
