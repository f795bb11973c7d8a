//! The command line of Landfall: one binary, `landfall`.
//!
//! A command opens the journal of its *home* itself; there is no daemon. [`arguments`] is the grammar, [`commands`] has
//! one file per command, [`destination`] turns `--to` and `--from` into an open vault, [`conversations`] into open
//! lanes, [`secret`], [`keystore`] and [`hostkey`] say where keys come from, [`output`], [`tally`] and [`bars`] what people and programs see, [`exit`] how the process ends.
//! Results go to stdout, everything else to stderr.

mod arguments;
mod bars;
mod buckets;
mod command;
mod commands;
mod conversations;
mod credentials;
mod damage;
mod destination;
mod endpoint;
mod exit;
mod failed;
mod filter;
mod home;
mod hostkey;
mod human;
mod keyring;
mod keystore;
mod output;
mod root;
mod secret;
mod signals;
mod tally;

use std::{process::ExitCode, sync::Arc};

use clap::Parser as _;

use crate::{
    arguments::Arguments,
    command::Command,
    exit::Exit,
    failed::Failed,
    output::{Colour, Format, Output},
    signals::Signals,
};

/// Threads for ciphers, disks and databases. More would only hold more memory.
const BLOCKING_THREADS: usize = 8;
/// Stack of such a thread; a password is stretched on the heap.
const STACK_BYTES: usize = 1 << 20;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return refused(&error),
    };
    let global = &arguments.global;
    let format = match (global.json, global.json_lines) {
        (true, _) => Format::Json,
        (_, true) => Format::JsonLines,
        _ => Format::Human,
    };
    let out = Arc::new(Output::new(format, global.quiet, global.verbose, global.color));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_stack_size(STACK_BYTES)
        .build();
    let exit = match runtime {
        Ok(runtime) => {
            let exit = runtime.block_on(carry_out(arguments, &out));
            // A thread that still reads a stuck disk must not keep the process.
            runtime.shutdown_background();
            exit
        }
        Err(error) => Err(Failed::new("internal", "cannot start", error.to_string())),
    };
    out.clear();
    let exit = exit.unwrap_or_else(|failed| {
        // Whoever said stop has been told already.
        if !matches!(failed.exit, Exit::Interrupted | Exit::Terminated) {
            out.failed(&failed);
        }
        failed.exit
    });
    ExitCode::from(out.end(exit).code())
}

async fn carry_out(arguments: Arguments, out: &Arc<Output>) -> Result<Exit, Failed> {
    let signals = Signals::listen(out);
    let command =
        Command::new(&arguments.global, Arc::clone(out), signals, arguments.command.mends_the_configuration())?;
    Box::pin(commands::carry_out(command, arguments.command)).await
}

/// The command line could not be read, or asks for help.
fn refused(error: &clap::Error) -> ExitCode {
    let printed = error.print();
    if !error.use_stderr() {
        let out = Output::new(Format::Human, false, false, Colour::Auto);
        return match output::forgiven(printed.and_then(|()| std::io::Write::flush(&mut std::io::stdout()))) {
            Ok(()) => ExitCode::from(Exit::Done.code()),
            Err(error) => {
                let failed = output::unwritten(&error);
                out.failed(&failed);
                ExitCode::from(failed.exit.code())
            }
        };
    }
    if std::env::args_os().any(|argument| argument == "--json" || argument == "--json-lines") {
        let message = error.to_string();
        let is_advice = |line: &str| line.starts_with("Usage:") || line.starts_with("For more information");
        let said = message.lines().map(str::trim).take_while(|line| !is_advice(line)).filter(|line| !line.is_empty());
        let message = said.collect::<Vec<_>>().join(" ");
        let message = message.trim().trim_start_matches("error: ");
        let out =
            serde_json::json!({ "v": 1, "error": { "code": "usage", "message": message, "hint": "landfall --help" } });
        let mut stdout = std::io::stdout().lock();
        let _ = std::io::Write::write_all(&mut stdout, format!("{out}\n").as_bytes());
    }
    ExitCode::from(Exit::Usage.code())
}
