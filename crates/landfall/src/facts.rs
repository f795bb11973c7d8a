//! What a vault says of itself before its keys are opened.

use landfall_store::Destination;
use landfall_transport::vault::Vault;

use crate::{Engine, Error, remote::Remote, session::is_older};

/// What can be known of a vault without a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultFacts {
    /// Its random name, the same for as long as the vault lives. Key stores keep its master key under it.
    pub name: String,
    /// Up to which moment it has changes.
    pub cursor: i64,
    /// It was put back to an older state than the destination it was compared with has seen.
    pub is_older: bool,
    /// Whether it has keys. If not, the first password makes them.
    pub has_keys: bool,
}

impl Engine {
    /// Asks a vault for its name, whether it has keys, and whether it is what is known of a destination.
    ///
    /// # Errors
    /// [`Error::Destination`] if the vault cannot be asked.
    pub async fn facts(&self, vault: &Vault, known: Option<&Destination>) -> Result<VaultFacts, Error> {
        let remote = Remote::new(vault.clone(), &self.inner);
        let newest = match known.map(|known| known.id) {
            Some(id) => self.inner.journal.read(move |tx| tx.newest_record(id)).await?,
            None => None,
        };
        let account = remote.account().await?;
        let is_older = match known {
            Some(known) => is_older(&remote, &account, known, newest).await?,
            None => false,
        };
        let has_keys = remote.keys().await?.is_some();
        Ok(VaultFacts { name: account.vault, cursor: account.cursor, is_older, has_keys })
    }
}
