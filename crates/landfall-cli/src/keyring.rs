//! The platform's key store, where there is one that answers: Keychain, Credential Manager, Secret Service.
//!
//! Servers, containers and sessions without a desktop have none; then every question here has no answer, and secrets go
//! elsewhere. Setting `LANDFALL_KEYRING=off` asks nobody.

use std::path::Path;

use keyring::v1::{Entry, Error};
use zeroize::Zeroizing;

/// What is kept under a name of a home.
pub(crate) fn find(home: &Path, name: &str) -> Option<Zeroizing<String>> {
    entry(home, name)?.get_password().ok().map(Zeroizing::new)
}

/// Keeps a text under a name of a home. `None` if nobody keeps it.
pub(crate) fn keep(home: &Path, name: &str, text: &str) -> Option<()> {
    let entry = entry(home, name)?;
    entry.set_password(text).ok()?;
    // Some take what they do not give back.
    let kept = Zeroizing::new(entry.get_password().ok()?);
    (*kept == text).then_some(())
}

/// Forgets what is kept under a name of a home.
pub(crate) fn forget(home: &Path, name: &str) -> Option<()> {
    match entry(home, name)?.delete_credential() {
        Ok(()) | Err(Error::NoEntry) => Some(()),
        Err(_) => None,
    }
}

/// Whether somebody said that no key store is to be asked.
pub(crate) fn is_off() -> bool {
    std::env::var_os("LANDFALL_KEYRING").is_some_and(|value| value == "off")
}

/// Two homes of one person have destinations of their own.
fn entry(home: &Path, name: &str) -> Option<Entry> {
    if is_off() {
        return None;
    }
    Entry::new("landfall", &format!("{}#{name}", home.display())).ok()
}
