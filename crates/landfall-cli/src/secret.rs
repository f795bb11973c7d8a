//! Where a password or a recovery key comes from, when no key store holds the key.

use std::{
    fs,
    io::{self, IsTerminal as _, Read as _},
    path::{Path, PathBuf},
};

use landfall::{RecoveryKey, Secret};
use landfall_env::Env;
use zeroize::Zeroizing;

use crate::{failed::Failed, output::Output};

/// What the command line and the environment say about secrets.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sources {
    /// `--password-file`.
    pub password_file: Option<PathBuf>,
    /// `--recovery-key-file`.
    pub recovery_key_file: Option<PathBuf>,
}

/// What a password is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To open what is there.
    Open,
    /// To make the keys of a new vault: typed twice.
    Create,
    /// To replace the password: typed twice.
    Replace,
}

impl Sources {
    /// Somebody named a secret on the command line: it is checked, whatever a key store holds.
    pub(crate) fn is_explicit(&self) -> bool {
        self.password_file.is_some() || self.recovery_key_file.is_some()
    }

    /// Whether there is a secret that nobody has to be asked for.
    pub(crate) fn is_at_hand(&self) -> bool {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        self.is_explicit() || is_set("LANDFALL_PASSWORD") || is_set("LANDFALL_RECOVERY_KEY")
    }

    /// A secret, from the first place that has one: the recovery key, the password, the terminal.
    ///
    /// # Errors
    /// `locked` if there is none anywhere.
    pub(crate) async fn secret(&self, env: &Env, out: &Output, purpose: Purpose) -> Result<Secret, Failed> {
        if purpose == Purpose::Open
            && let Some(text) = from(self.recovery_key_file.as_deref(), "LANDFALL_RECOVERY_KEY")?
        {
            let key = text.parse::<RecoveryKey>().map_err(|error| {
                Failed::new("wrong-recovery-key", "cannot read the recovery key", error.to_string())
                    .hint("give its 24 words, or 64 hexadecimal digits")
            })?;
            return Ok(Secret::RecoveryKey(key));
        }
        if let Some(password) = self.password()? {
            return Ok(Secret::Password(password));
        }
        ask(env, out, purpose).await.map(Secret::Password)
    }

    /// The password of a file or of the environment.
    pub(crate) fn password(&self) -> Result<Option<Zeroizing<String>>, Failed> {
        from(self.password_file.as_deref(), "LANDFALL_PASSWORD")
    }
}

/// A secret in a file, or else in a variable. An empty one is an accident.
fn from(file: Option<&Path>, variable: &str) -> Result<Option<Zeroizing<String>>, Failed> {
    let (text, origin) = match file {
        Some(path) => (read(path)?, format!("`{}`", path.display())),
        None => match std::env::var(variable) {
            Ok(text) => (Zeroizing::new(text), variable.to_owned()),
            Err(std::env::VarError::NotPresent) => return Ok(None),
            Err(std::env::VarError::NotUnicode(_)) => {
                return Err(Failed::new("bad-config", format!("cannot read {variable}"), "it is not text"));
            }
        },
    };
    if text.is_empty() {
        return Err(Failed::new("locked", format!("cannot use {origin}"), "it is empty"));
    }
    Ok(Some(text))
}

/// Longer than any secret.
const SECRET_BYTES_MAX: usize = 4096;

/// A secret in a file, without the line's end.
pub(crate) fn read(path: &Path) -> Result<Zeroizing<String>, Failed> {
    let cannot = |why: String| Failed::new("not-found", format!("cannot read `{}`", path.display()), why);
    // Made for all of it at once, so that nothing is copied to a larger buffer and left behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(SECRET_BYTES_MAX + 1));
    let read = fs::File::open(path).and_then(|file| file.take(SECRET_BYTES_MAX as u64 + 1).read_to_end(&mut bytes));
    read.map_err(|error| cannot(error.to_string()))?;
    if bytes.len() > SECRET_BYTES_MAX {
        return Err(cannot(format!("it has more than {SECRET_BYTES_MAX} bytes, and a secret has fewer")));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| cannot("it is not text".to_owned()))?;
    Ok(Zeroizing::new(text.trim_end_matches(['\n', '\r']).to_owned()))
}

/// A secret in a file, or on stdin if that is called `-`.
pub(crate) fn read_file_or_stdin(path: &Path) -> Result<Zeroizing<String>, Failed> {
    if path != Path::new("-") {
        return read(path);
    }
    let mut text = Zeroizing::new(String::with_capacity(SECRET_BYTES_MAX + 1));
    let taken = io::stdin().take(SECRET_BYTES_MAX as u64 + 1).read_to_string(&mut text);
    let cannot = |why: String| Failed::new("not-found", "cannot read stdin", why);
    match taken {
        Ok(bytes) if bytes > SECRET_BYTES_MAX => {
            Err(cannot(format!("it has more than {SECRET_BYTES_MAX} bytes, and a secret has fewer")))
        }
        Ok(_) => Ok(Zeroizing::new(text.trim_end_matches(['\n', '\r']).to_owned())),
        Err(error) => Err(cannot(error.to_string())),
    }
}

/// Asks for a secret at the terminal, once. Fails if nobody is there, or nothing is typed.
pub(crate) async fn ask_for(env: &Env, out: &Output, prompt: &'static str) -> Result<Zeroizing<String>, ()> {
    if !io::stderr().is_terminal() || out.format() != crate::output::Format::Human {
        return Err(());
    }
    let typed = type_in(env, prompt).await.map_err(|_| ())?;
    if typed.is_empty() { Err(()) } else { Ok(typed) }
}

/// Asks at the terminal, twice if something is to be made.
pub(crate) async fn ask(env: &Env, out: &Output, purpose: Purpose) -> Result<Zeroizing<String>, Failed> {
    let locked = || {
        Failed::new("locked", "the keys of this vault are locked", "no password is at hand")
            .hint("set LANDFALL_PASSWORD, give `--password-file FILE`, or run `landfall unlock --remember` once")
    };
    if !io::stderr().is_terminal() || out.format() != crate::output::Format::Human {
        return Err(locked());
    }
    let prompt = match purpose {
        Purpose::Open => "password: ",
        Purpose::Create => "new password for this vault: ",
        Purpose::Replace => "new password: ",
    };
    let typed = type_in(env, prompt).await.map_err(|_| locked())?;
    if typed.is_empty() {
        return Err(locked());
    }
    if purpose != Purpose::Open {
        let again = type_in(env, "the same again: ").await.map_err(|_| locked())?;
        if *again != *typed {
            return Err(Failed::new("wrong-password", "no password was set", "the two are not the same"));
        }
    }
    Ok(typed)
}

async fn type_in(env: &Env, prompt: &'static str) -> io::Result<Zeroizing<String>> {
    env.blocking.run(move || terminal::type_in(prompt)).await
}

/// Puts the terminal back if somebody was about to type a password.
pub(crate) fn show_typing_again() {
    terminal::show_typing_again();
}

#[cfg(unix)]
mod terminal {
    use std::{
        fs,
        io::{self, BufRead as _, BufReader, Write as _},
        sync::{Mutex, PoisonError},
    };

    use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
    use zeroize::Zeroizing;

    /// How the terminal was before typing was hidden.
    static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

    pub(super) fn type_in(prompt: &str) -> io::Result<Zeroizing<String>> {
        let mut terminal = fs::OpenOptions::new().read(true).write(true).open("/dev/tty")?;
        terminal.write_all(prompt.as_bytes())?;
        let before = tcgetattr(&terminal)?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        hidden.local_modes.insert(LocalModes::ECHONL);
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        let typed = tcsetattr(&terminal, OptionalActions::Flush, &hidden).map_err(io::Error::from).and_then(|()| {
            // Long enough for any password, so that it is never copied to a larger buffer and left behind.
            let mut line = Zeroizing::new(String::with_capacity(4096));
            BufReader::new(&terminal).read_line(&mut line)?;
            Ok(line)
        });
        show_typing_again();
        let mut line = typed?;
        let length = line.trim_end_matches(['\n', '\r']).len();
        line.truncate(length);
        Ok(line)
    }

    pub(super) fn show_typing_again() {
        if let Some(before) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take()
            && let Ok(terminal) = fs::File::open("/dev/tty")
        {
            let _ = tcsetattr(&terminal, OptionalActions::Now, &before);
        }
    }
}

#[cfg(not(unix))]
mod terminal {
    use std::io;

    use zeroize::Zeroizing;

    pub(super) fn type_in(_: &str) -> io::Result<Zeroizing<String>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn show_typing_again() {}
}
