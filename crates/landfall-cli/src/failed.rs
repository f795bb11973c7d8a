//! Why a command did not do what was asked.

use crate::exit::Exit;

/// A command's failure: what was being done, why it did not work, and what to type next.
#[derive(Debug, Clone)]
pub(crate) struct Failed {
    /// What was being done.
    pub what: String,
    /// Why it did not work. May be empty if `what` says it all.
    pub why: String,
    /// What to type, if anything helps.
    pub hint: Option<String>,
    /// A stable name for programs.
    pub code: String,
    /// How many files wait for a later run, if that is known.
    pub queued: Option<u64>,
    /// How the process ends.
    pub exit: Exit,
    /// The journal is not what was written; it may be set aside and the command tried again.
    pub is_damage: bool,
}

impl Failed {
    /// A failure that is known by its code.
    pub(crate) fn new(code: &str, what: impl Into<String>, why: impl Into<String>) -> Self {
        let exit = Exit::of_code(code);
        let (what, why, code) = (what.into(), why.into(), code.to_owned());
        Self { what, why, hint: None, code, queued: None, exit, is_damage: false }
    }

    /// The command line asks for something that cannot be.
    pub(crate) fn usage(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new("invalid", what, why)
    }

    /// Someone pressed Ctrl-C, or the system asked the process to end.
    pub(crate) fn stopped(exit: Exit) -> Self {
        let code = if exit == Exit::Terminated { "terminated" } else { "interrupted" };
        Self { exit, ..Self::new(code, "stopped", "") }
    }

    /// Adds what to type.
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// `what: why` on one line.
    pub(crate) fn message(&self) -> String {
        match (self.what.is_empty(), self.why.is_empty()) {
            (_, true) => self.what.clone(),
            (true, false) => self.why.clone(),
            (false, false) => format!("{}: {}", self.what, self.why),
        }
    }
}

/// Says what was being done when the engine failed.
pub(crate) trait During<T> {
    /// The engine's error, as a failure of doing `what`.
    fn during(self, what: &str) -> Result<T, Failed>;
}

impl<T> During<T> for Result<T, landfall::Error> {
    fn during(self, what: &str) -> Result<T, Failed> {
        self.map_err(|error| failed(what, &error))
    }
}

/// The engine's error, as a failure of doing `what`.
pub(crate) fn failed(what: &str, error: &landfall::Error) -> Failed {
    let is_damage = matches!(error, landfall::Error::Store(landfall::StoreError::Damaged { .. }));
    // Here no item has failed that could be tried again.
    let hint = error.hint().replace(", then `landfall retry`", ", then run the command again");
    Failed { is_damage, ..Failed::new(error.code(), what, causes(error)).hint(hint) }
}

/// A remedy that names the destination.
pub(crate) fn naming(remedy: &str, name: &str) -> String {
    remedy.replace("destination add s3 NAME", &format!("destination add s3 {name}"))
}

/// An error and its causes on one line.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // Some repeat their cause in their own message.
        if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = error.source();
    }
    line
}
