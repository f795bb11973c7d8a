//! Races our sealing against libsodium's on one core: `cargo run --release [-- ROUNDS]`.
//!
//! Every round runs every lane once, so that a busy machine disturbs all of them alike, and a lane's figure is the
//! median over the rounds of the CPU time of this thread. Before the race both must have sealed the same bytes.

mod others;

use std::{ffi::CStr, ptr};

use landfall_crypto::{
    ChunkBuffer, ChunkLen, ChunkMac, ChunkSealer, DigestState, FileKey, MacXor, StreamHeader, StreamOpener,
};
use libsodium_sys as sodium;

fn main() {
    let rounds = std::env::args().nth(1).map_or(40, |n| n.parse().expect("ROUNDS is a number"));
    // SAFETY: it may be called at any time and as often as one likes.
    assert!(unsafe { sodium::sodium_init() } >= 0, "libsodium initialises");
    prove_equal();

    let mut lanes = Vec::new();
    lanes.extend(others::lanes());
    for (name, len) in [("4 MiB", CHUNK), ("4 MiB - 1", CHUNK - 1), ("100 KiB + 3", (100 << 10) + 3)] {
        lanes.push(libsodium_seal(name, len));
        lanes.push(our_seal(name, len));
        lanes.push(our_reseal(name, len));
    }
    lanes.push(libsodium_open("4 MiB", CHUNK));
    lanes.push(our_open("4 MiB", CHUNK));
    lanes.push(libsodium_digest());
    lanes.push(our_digest());

    for round in 0..=rounds {
        for lane in &mut lanes {
            let seconds = lane.run_once();
            if round > 0 {
                lane.seconds.push(seconds); // the first round warms up
            }
        }
    }
    print_results(rounds, &mut lanes);
}

const CHUNK: usize = 4 << 20;
const BYTES_PER_TURN: usize = 4 * CHUNK;
const KEY: [u8; 32] = [7; 32];
const HEADER: [u8; 24] = [9; 24];

struct Lane {
    name: String,
    /// The lanes below are compared with this one, down to the next peer.
    peer: bool,
    len: usize,
    turn: Box<dyn FnMut()>,
    seconds: Vec<f64>,
}

impl Lane {
    fn new(name: String, peer: bool, len: usize, turn: impl FnMut() + 'static) -> Self {
        Self { name, peer, len, turn: Box::new(turn), seconds: Vec::new() }
    }

    fn turns(&self) -> usize {
        BYTES_PER_TURN / self.len
    }

    fn run_once(&mut self) -> f64 {
        let start = thread_cpu_seconds();
        for _ in 0..self.turns() {
            (self.turn)();
        }
        thread_cpu_seconds() - start
    }

    fn gigabytes_per_second(&mut self) -> f64 {
        self.seconds.sort_by(f64::total_cmp);
        (self.turns() * self.len) as f64 / self.seconds[self.seconds.len() / 2] / 1e9
    }
}

fn print_results(rounds: usize, lanes: &mut [Lane]) {
    // SAFETY: the string is static and ends with a zero.
    let version = unsafe { CStr::from_ptr(sodium::sodium_version_string()) };
    println!("{}", cpu_name());
    println!("libsodium {}, {rounds} rounds, medians of thread CPU time", version.to_string_lossy());
    println!("{:<34} {:>6} {:>12}", "lane", "GB/s", "x libsodium");
    let mut libsodium = f64::NAN;
    for lane in lanes {
        let speed = lane.gigabytes_per_second();
        if lane.peer {
            libsodium = speed;
        }
        println!("{:<34} {speed:>6.2} {:>12.2}", lane.name, speed / libsodium);
    }
}

fn our_seal(name: &str, len: usize) -> Lane {
    let (sealer, mut buffer) = (sealer(), ChunkBuffer::with_capacity(ChunkLen::DEFAULT));
    let (mut index, mut earlier) = (0, MacXor::default());
    Lane::new(format!("seal {name}, landfall"), false, len, move || {
        buffer.message_mut(len);
        earlier.push(&sealer.seal(index, &earlier, &mut buffer, false).expect("the stream is short"));
        index += 1;
    })
}

fn our_reseal(name: &str, len: usize) -> Lane {
    let sealer = sealer();
    let (mut first, earlier) = (ChunkBuffer::with_capacity(ChunkLen::DEFAULT), MacXor::default());
    first.message_mut(len).fill(0x5a);
    let mac: ChunkMac = sealer.seal(0, &earlier, &mut first, false).expect("the stream is short");
    let mut kept = Some(first);
    Lane::new(format!("read and reseal {name}, landfall"), false, len, move || {
        let mut buffer = kept.take().expect("it is put back below");
        buffer.message_mut(len).fill(0x5a);
        let chunk = sealer.reseal(0, &earlier, buffer, false, &mac).expect("the source has not changed");
        kept = Some(chunk.into_buffer());
    })
}

fn our_open(name: &str, len: usize) -> Lane {
    let (sealer, mut buffer) = (sealer(), ChunkBuffer::with_capacity(ChunkLen::DEFAULT));
    buffer.message_mut(len).fill(0x5a);
    sealer.seal(0, &MacXor::default(), &mut buffer, true).expect("the stream is short");
    let wire = buffer.wire().to_vec();
    Lane::new(format!("copy and open {name}, landfall"), false, len, move || {
        buffer.wire_mut(wire.len()).copy_from_slice(&wire);
        let (key, header) = (FileKey::from_bytes(KEY), StreamHeader::from_bytes(HEADER));
        StreamOpener::new(&key, &header, ChunkLen::DEFAULT).open_chunk(&mut buffer).expect("it was sealed above");
    })
}

fn our_digest() -> Lane {
    let (message, mut state) = (vec![0x5a; CHUNK], DigestState::new());
    Lane::new("BLAKE2b-512, landfall".to_owned(), false, CHUNK, move || state.update(&message))
}

fn libsodium_seal(name: &str, len: usize) -> Lane {
    let (mut state, message, mut wire) = (libsodium_state(), vec![0x5a; len], vec![0; len + 17]);
    Lane::new(format!("seal {name}, libsodium"), true, len, move || libsodium_push(&mut state, &mut wire, &message, 0))
}

fn libsodium_open(name: &str, len: usize) -> Lane {
    let (message, mut wire, mut opened) = (vec![0x5a; len], vec![0u8; len + 17], vec![0u8; len]);
    libsodium_push(&mut libsodium_state(), &mut wire, &message, 3);
    Lane::new(format!("open {name}, libsodium"), true, len, move || {
        let (mut state, mut tag) = (libsodium_state(), 0);
        // SAFETY: `opened` has room for a message 17 bytes shorter than `wire`; the other pointers are of live values.
        let code = unsafe {
            sodium::crypto_secretstream_xchacha20poly1305_pull(
                &mut state,
                opened.as_mut_ptr(),
                ptr::null_mut(),
                &mut tag,
                wire.as_ptr(),
                wire.len() as u64,
                ptr::null(),
                0,
            )
        };
        assert_eq!((code, tag), (0, 3));
    })
}

fn libsodium_digest() -> Lane {
    let message = vec![0x5a; CHUNK];
    Lane::new("BLAKE2b-512, libsodium".to_owned(), true, CHUNK, move || {
        let mut hash = [0; 64];
        // SAFETY: both lengths are those of the buffers; no key is given.
        unsafe {
            sodium::crypto_generichash(hash.as_mut_ptr(), 64, message.as_ptr(), message.len() as u64, ptr::null(), 0)
        };
        std::hint::black_box(hash);
    })
}

/// Both seal a stream of chunks of many lengths; a race between different bytes would mean nothing.
fn prove_equal() {
    let (sealer, mut state) = (sealer(), libsodium_state());
    let (mut buffer, mut earlier) = (ChunkBuffer::with_capacity(ChunkLen::DEFAULT), MacXor::default());
    for (index, len) in (0..200).chain([CHUNK, CHUNK - 1, CHUNK - 8]).enumerate() {
        let message: Vec<u8> = (0..len).map(|at| (at * 31 + index) as u8).collect();
        let mut wire = vec![0; len + 17];
        libsodium_push(&mut state, &mut wire, &message, 0);
        buffer.message_mut(len).copy_from_slice(&message);
        earlier.push(&sealer.seal(index as u64, &earlier, &mut buffer, false).expect("the stream is short"));
        assert_eq!(buffer.wire(), wire, "chunk {index} of {len} bytes");
    }
}

fn sealer() -> ChunkSealer {
    ChunkSealer::new(&FileKey::from_bytes(KEY), &StreamHeader::from_bytes(HEADER))
}

/// The state at the beginning of the stream. Only opening takes a header; what it makes of it is the same.
fn libsodium_state() -> sodium::crypto_secretstream_xchacha20poly1305_state {
    // SAFETY: the state is plain bytes that the call below fills from a key and a header of the right lengths.
    unsafe {
        let mut state = std::mem::zeroed();
        sodium::crypto_secretstream_xchacha20poly1305_init_pull(&mut state, HEADER.as_ptr(), KEY.as_ptr());
        state
    }
}

fn libsodium_push(
    state: &mut sodium::crypto_secretstream_xchacha20poly1305_state,
    wire: &mut [u8],
    message: &[u8],
    tag: u8,
) {
    assert_eq!(wire.len(), message.len() + 17);
    // SAFETY: `wire` has room for the message and 17 bytes, checked above; the other pointers are of live values.
    unsafe {
        sodium::crypto_secretstream_xchacha20poly1305_push(
            state,
            wire.as_mut_ptr(),
            ptr::null_mut(),
            message.as_ptr(),
            message.len() as u64,
            ptr::null(),
            0,
            tag,
        );
    }
}

fn thread_cpu_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is live and the clock exists on every system with threads.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// The name of the processor and those of its features that the ciphers choose their code by.
fn cpu_name() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name| cpu.lines().find(|line| line.starts_with(name)).and_then(|line| line.split_once(": "));
    let name = field("model name").map_or("unknown processor", |(_, name)| name);
    let number = |key| field(key).map_or("?", |(_, value)| value);
    let flags: Vec<&str> = field("flags").map_or_else(Vec::new, |(_, flags)| {
        flags.split(' ').filter(|flag| ["avx2", "avx512f", "avx512ifma", "vaes"].contains(flag)).collect()
    });
    format!("{name} (family {}, model {}; {})", number("cpu family"), number("model\t"), flags.join(" "))
}
