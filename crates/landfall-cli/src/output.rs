//! Results on stdout, everything else on stderr.

use std::{
    io::{self, IsTerminal as _, Write as _},
    sync::{Mutex, PoisonError},
};

use indicatif::MultiProgress;
use serde_json::{Map, Value, json};

use crate::{exit::Exit, failed::Failed};

/// For whom results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// People.
    Human,
    /// Programs: one document at the end.
    Json,
    /// Programs: one event per line, as it happens.
    JsonLines,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Colour {
    /// If stderr is a terminal and `NO_COLOR` is not set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Where everything a command says goes.
pub(crate) struct Output {
    format: Format,
    quiet: bool,
    verbose: bool,
    colour: bool,
    bars: bool,
    drawn: Mutex<Option<MultiProgress>>,
    /// Why a result could not be written.
    unwritten: Mutex<Option<io::Error>>,
}

impl Output {
    /// An output in `format`; `quiet` leaves only errors.
    pub(crate) fn new(format: Format, quiet: bool, verbose: bool, colour: Colour) -> Self {
        let terminal = io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let colour = match colour {
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => terminal && !plain,
        };
        Self {
            format,
            quiet,
            verbose,
            colour,
            bars: terminal && !quiet,
            drawn: Mutex::default(),
            unwritten: Mutex::default(),
        }
    }

    /// For whom results are written.
    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// Whether bars may be drawn.
    pub(crate) fn has_bars(&self) -> bool {
        self.bars
    }

    /// Whether every file is worth a line.
    pub(crate) fn is_verbose(&self) -> bool {
        self.verbose
    }

    /// Whether only errors are said.
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// A line of a result, for people.
    pub(crate) fn line(&self, line: &str) {
        if self.format == Format::Human {
            self.around(|| self.write_line(line));
        }
    }

    /// The whole result, for programs. As JSON lines it is the last event, of type `summary`.
    pub(crate) fn document(&self, mut fields: Map<String, Value>) {
        match self.format {
            Format::Human => {}
            Format::Json => {
                fields.insert("v".to_owned(), 1.into());
                self.write_line(&Value::Object(fields).to_string());
            }
            Format::JsonLines => self.event("summary", fields),
        }
    }

    /// Something that just happened, for programs that read lines. Flushed at once.
    pub(crate) fn event(&self, kind: &str, mut fields: Map<String, Value>) {
        if self.format == Format::JsonLines {
            fields.insert("v".to_owned(), 1.into());
            fields.insert("type".to_owned(), kind.into());
            self.around(|| self.write_line(&Value::Object(fields).to_string()));
        }
    }

    /// Something people like to know.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            self.say(text);
        }
    }

    /// Something people should know.
    pub(crate) fn warn(&self, text: &str, hint: Option<&str>) {
        if !self.quiet {
            self.say(&format!("{} {text}", self.painted("warning:", "33;1")));
            if let Some(hint) = hint {
                self.say(&format!("{} {hint}", self.painted("hint:", "36;1")));
            }
        }
        let mut fields = Map::new();
        fields.insert("message".to_owned(), text.into());
        self.event("note", fields);
    }

    /// Something people must see, whatever they asked for.
    pub(crate) fn say(&self, text: &str) {
        self.around(|| {
            let _ = writeln!(io::stderr().lock(), "{text}");
        });
    }

    /// Why the command did not do what was asked.
    pub(crate) fn failed(&self, failed: &Failed) {
        self.say_failed(failed);
        let mut error = json!({ "code": failed.code, "message": failed.message(), "hint": failed.hint });
        if let Some(queued) = failed.queued {
            error["queued"] = queued.into();
        }
        let mut fields = Map::new();
        fields.insert("error".to_owned(), error);
        match self.format {
            Format::Human => {}
            Format::Json => self.document(fields),
            Format::JsonLines => self.event("error", fields),
        }
    }

    fn say_failed(&self, failed: &Failed) {
        self.say(&format!("{} {}", self.painted("error:", "31;1"), crate::human::text(&failed.message())));
        if let Some(hint) = &failed.hint {
            self.say(&format!("{} {hint}", self.painted("hint:", "36;1")));
        }
    }

    /// Bars to draw on, which make way for lines.
    pub(crate) fn draw(&self) -> MultiProgress {
        let bars = MultiProgress::new();
        *self.drawn.lock().unwrap_or_else(PoisonError::into_inner) = Some(bars.clone());
        bars
    }

    /// Takes the bars away.
    pub(crate) fn clear(&self) {
        if let Some(bars) = self.drawn.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = bars.clear();
        }
    }

    /// Writes bytes that are a result of their own.
    pub(crate) fn raw(&self, bytes: &[u8]) {
        self.write(|stdout| stdout.write_all(bytes));
    }

    /// Says on stderr that results could not be written, if that is so. Returns how the command ends then.
    pub(crate) fn end(&self, exit: Exit) -> Exit {
        let error = self.unwritten.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(error) = error else { return exit };
        self.say_failed(&unwritten(&error));
        if exit == Exit::Done { Exit::Internal } else { exit }
    }

    fn write_line(&self, line: &str) {
        self.write(|stdout| writeln!(stdout, "{line}"));
    }

    /// What was asked for goes on if a result cannot be written; the first error says why nobody will see it.
    fn write(&self, write: impl FnOnce(&mut io::StdoutLock<'_>) -> io::Result<()>) {
        let mut stdout = io::stdout().lock();
        if let Err(error) = forgiven(write(&mut stdout).and_then(|()| stdout.flush())) {
            self.unwritten.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
    }

    fn around(&self, write: impl FnOnce()) {
        let bars = self.drawn.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match bars {
            Some(bars) => bars.suspend(write),
            None => write(),
        }
    }

    fn painted(&self, word: &str, style: &str) -> String {
        if self.colour { format!("\x1b[{style}m{word}\x1b[0m") } else { word.to_owned() }
    }
}

/// A reader that has gone away is not our trouble.
pub(crate) fn forgiven(written: io::Result<()>) -> io::Result<()> {
    written.or_else(|error| if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) })
}

/// A result that could not be written, as a failure.
pub(crate) fn unwritten(error: &io::Error) -> Failed {
    Failed::new("io", "cannot write to stdout", error.to_string())
        .hint("what the command did is done, but its result is lost; check where stdout leads to")
}

/// The members of a JSON object.
pub(crate) fn fields(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        other => Map::from_iter([("value".to_owned(), other)]),
    }
}
