//! Results on stdout, everything else on stderr.

use std::{
    io::{self, IsTerminal as _, Write as _},
    sync::{Mutex, PoisonError},
};

use indicatif::MultiProgress;
use serde_json::{Map, Value, json};

use crate::failed::Failed;

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
        Self { format, quiet, verbose, colour, bars: terminal && !quiet, drawn: Mutex::default() }
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
            self.around(|| write_stdout(line));
        }
    }

    /// The whole result, for programs. As JSON lines it is the last event, of type `summary`.
    pub(crate) fn document(&self, mut fields: Map<String, Value>) {
        match self.format {
            Format::Human => {}
            Format::Json => {
                fields.insert("v".to_owned(), 1.into());
                write_stdout(&Value::Object(fields).to_string());
            }
            Format::JsonLines => self.event("summary", fields),
        }
    }

    /// Something that just happened, for programs that read lines. Flushed at once.
    pub(crate) fn event(&self, kind: &str, mut fields: Map<String, Value>) {
        if self.format == Format::JsonLines {
            fields.insert("v".to_owned(), 1.into());
            fields.insert("type".to_owned(), kind.into());
            self.around(|| write_stdout(&Value::Object(fields).to_string()));
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
        self.say(&format!("{} {}", self.painted("error:", "31;1"), crate::human::text(&failed.message())));
        if let Some(hint) = &failed.hint {
            self.say(&format!("{} {hint}", self.painted("hint:", "36;1")));
        }
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

/// A reader that has gone away is not our trouble: what was asked for goes on.
fn write_stdout(line: &str) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

/// The members of a JSON object.
pub(crate) fn fields(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        other => Map::from_iter([("value".to_owned(), other)]),
    }
}
