//! The keys of what is sealed in a bucket: one master key for each prefix, kept there wrapped by a password.

use std::time::Duration;

use landfall_core::{Code, Failure, Remedy, Waits};
use landfall_crypto::MasterKey;
use landfall_protocol::{JSON_BYTES_MAX, KeyAttributes};
use landfall_transport::s3::Condition;

use super::{
    Bucket,
    remote::{Sight, Way},
};
use crate::{
    Error, Secret, UnlockedKeys,
    session::{is_of, make_keys, open_keys},
};

/// Where nothing is guarded: how long after one look for keys others may still be put there.
const UNGUARDED: Duration = Duration::from_secs(3);

impl Bucket {
    /// Opens the keys with a secret. If nothing was ever sealed to this prefix and the secret is a password, keys are made,
    /// and put there wrapped; of two who do so at once the second finds those of the first. From here on what is sealed can
    /// be uploaded, and fetched opened.
    ///
    /// # Errors
    /// [`Error::WrongPassword`], [`Error::WrongRecoveryKey`]; [`Error::NoKeys`] if there is nothing a recovery key could
    /// open; [`Error::Destination`].
    pub async fn unlock(&self, secret: Secret) -> Result<UnlockedKeys, Error> {
        let env = &self.inner.engine.env;
        let keys = match (self.attributes().await?, secret) {
            (Some(attributes), Secret::MasterKey(master)) => {
                if !is_of(&master, &attributes)? {
                    return Err(Error::WrongPassword);
                }
                UnlockedKeys { master, created: None }
            }
            (Some(attributes), secret) => open_keys(env, &attributes, secret).await?,
            (None, Secret::Password(password)) => {
                let (attributes, keys) = make_keys(env, password.clone()).await?;
                self.put_attributes(&attributes).await?;
                if self.inner.remote.guards(Way::Put) != Some(true) {
                    // Whoever looked before these were there may still put theirs in their place.
                    tokio::time::sleep(UNGUARDED).await;
                }
                // Whoever was first, or last where nothing is guarded, has decided.
                match self.attributes().await? {
                    Some(there) if there == attributes => keys,
                    Some(there) => open_keys(env, &there, Secret::Password(password)).await?,
                    None => return Err(Error::Tampered("the keys that were put there are gone".to_owned())),
                }
            }
            (None, _) => return Err(Error::NoKeys),
        };
        let _ = self.inner.master.set(keys.master.clone());
        let destination = self.inner.destination;
        self.inner.engine.journal.write(move |tx| tx.wake_waiting(destination, Waits::Unlock)).await?;
        Ok(keys)
    }

    /// Whether something was sealed to this prefix, or was to be.
    ///
    /// # Errors
    /// [`Error::Destination`].
    pub async fn has_keys(&self) -> Result<bool, Error> {
        Ok(self.attributes().await?.is_some())
    }

    /// Whether something that is on its way needs the keys.
    ///
    /// # Errors
    /// The journal's.
    pub async fn needs_keys(&self) -> Result<bool, Error> {
        let destination = self.inner.destination;
        Ok(self.inner.engine.journal.read(move |tx| tx.has_sealed_uploads(destination)).await?)
    }

    pub(super) fn master(&self) -> Option<&MasterKey> {
        self.inner.master.get()
    }

    async fn attributes(&self) -> Result<Option<KeyAttributes>, Error> {
        let (remote, key) = (&self.inner.remote, self.keys_key());
        match remote.patiently(|| remote.head(&key)).await? {
            Sight::Object(_) => {}
            Sight::Nothing => return Ok(None),
            // There may be keys. Whoever made others would lock out everything that is sealed there.
            Sight::Hidden(failure) => return Err(failure.into()),
        }
        let text = remote.patiently(|| remote.fetch_short(&key, JSON_BYTES_MAX)).await?;
        let attributes = serde_json::from_slice(&text);
        attributes.map(Some).map_err(|_| Error::Tampered(format!("`{key}` does not hold keys")))
    }

    async fn put_attributes(&self, attributes: &KeyAttributes) -> Result<(), Error> {
        let text = serde_json::to_vec_pretty(attributes).expect("key attributes are plain data");
        let (remote, key) = (&self.inner.remote, self.keys_key());
        let put = || async {
            let is_known = remote.guards(Way::Put) != Some(false);
            let condition = if is_known { Condition::Absent } else { Condition::Always };
            remote.put_bytes(&key, text.clone().into(), None, &condition).await
        };
        loop {
            match remote.patiently(put).await {
                Ok(()) | Err(Failure { code: Code::KeyTaken, .. }) => return Ok(()),
                // It does not know how to guard, which is known by now.
                Err(Failure { remedy: Remedy::Renew, .. }) => {}
                Err(failure) => return Err(failure.into()),
            }
        }
    }

    fn keys_key(&self) -> String {
        self.key(".landfall/keys.json")
    }
}
