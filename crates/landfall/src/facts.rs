//! What a vault says of itself before its keys are opened.

use landfall_transport::vault::Vault;

use crate::{Engine, Error, remote::Remote};

/// What can be known of a vault without a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultFacts {
    /// Its random name, the same for as long as the vault lives. Key stores keep its master key under it.
    pub name: String,
    /// Up to which moment it has changes. Lower than [`Destination::cursor`](landfall_store::Destination::cursor): it was
    /// put back to an older state.
    pub cursor: i64,
    /// Whether it has keys. If not, the first password makes them.
    pub has_keys: bool,
}

impl Engine {
    /// Asks a vault for its name, and whether it has keys.
    ///
    /// # Errors
    /// [`Error::Destination`] if the vault cannot be asked.
    pub async fn facts(&self, vault: &Vault) -> Result<VaultFacts, Error> {
        let remote = Remote::new(vault.clone(), &self.inner);
        let account = remote.account().await?;
        let has_keys = remote.keys().await?.is_some();
        Ok(VaultFacts { name: account.vault, cursor: account.cursor, has_keys })
    }
}
