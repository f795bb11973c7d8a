//! A vault with its keys at hand.
//!
//! The master key is opened by the password, by the recovery key, or comes from a key store. It wraps the *journal
//! key*, which seals file keys and tokens at rest in this home, and the keys of collections. Nothing of it is ever
//! written unsealed by the engine.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use landfall_core::{Code, Failure, Remedy};
use landfall_crypto::{
    CollectionKey, FileKey, JournalKey, KeyEncryptionKey, MasterKey, PasswordParams, RecoveryKey, TagKey, WrappedKey,
    derive_kek, derive_subkey, recovery_phrase, secretbox_open, secretbox_seal, unwrap_key, wrap_key,
};
use landfall_env::Env;
use landfall_protocol::{AccountInfo, Base64, KeyAttributes};
use landfall_store::{Destination, DestinationId, StoreError, Tx};
use landfall_transport::vault::{Token, Vault};
use zeroize::Zeroizing;

use crate::{Engine, Error, remote::Remote};

/// What opens a vault.
pub enum Secret {
    /// The password.
    Password(Zeroizing<String>),
    /// The recovery key.
    RecoveryKey(RecoveryKey),
    /// The master key itself, from a key store.
    MasterKey(MasterKey),
}

/// What a person must see exactly once, when a vault's keys are made.
pub struct NewAccount {
    /// The recovery key as 24 words.
    pub recovery_phrase: Zeroizing<String>,
}

/// The keys of a vault, opened.
pub struct UnlockedKeys {
    /// Opens everything else.
    pub master: MasterKey,
    /// Set if the keys were made just now.
    pub created: Option<NewAccount>,
}

/// A vault with its keys at hand. Clones are the same session.
#[derive(Clone)]
pub struct Session {
    pub(crate) inner: Arc<SessionInner>,
}

pub(crate) struct SessionInner {
    pub(crate) destination: DestinationId,
    pub(crate) remote: Remote,
    pub(crate) account: AccountInfo,
    pub(crate) master: MasterKey,
    pub(crate) tags: TagKey,
    journal_key: JournalKey,
    /// As the journal keeps it: another one there means that this session's vault was forgotten.
    kept_journal_key: Vec<u8>,
    collection_keys: Mutex<BTreeMap<i64, CollectionKey>>,
}

/// Subkeys of the master key: number and context of libsodium's `crypto_kdf`.
const TAG_SUBKEY: (u64, [u8; 8]) = (1, *b"lf-tags.");

impl Session {
    /// Which vault this is: a random name, the same for as long as the vault lives.
    pub fn vault(&self) -> &str {
        &self.inner.account.vault
    }

    /// The master key, for a key store.
    pub fn master_key(&self) -> &MasterKey {
        &self.inner.master
    }
}

/// The key that names things without telling their names.
pub(crate) fn tag_key(master: &MasterKey) -> TagKey {
    let (number, context) = TAG_SUBKEY;
    TagKey::from_bytes(derive_subkey(master, number, context))
}

/// Tells a root from those of the same name on other devices.
pub(crate) fn root_tag(tags: &TagKey, device: &str, path: &[u8]) -> [u8; 8] {
    let mut name = Vec::with_capacity(5 + device.len() + 1 + path.len());
    name.extend_from_slice(b"root\0");
    name.extend_from_slice(device.as_bytes());
    name.push(0);
    name.extend_from_slice(path);
    let tag = landfall_crypto::name_tag(tags, &name);
    let mut short = [0; 8];
    short.copy_from_slice(&tag[..8]);
    short
}

impl Engine {
    /// Opens a vault's keys with a secret; makes them if the vault has none and the secret is a password.
    ///
    /// Two devices that do this at once make one set of keys: the second finds those of the first, and its password
    /// must open them.
    ///
    /// # Errors
    /// [`Error::WrongPassword`], [`Error::WrongRecoveryKey`]; [`Error::NoKeys`] if there is nothing a recovery key could
    /// open; [`Error::Destination`] if the vault cannot be asked.
    pub async fn unlock(&self, vault: &Vault, secret: Secret) -> Result<UnlockedKeys, Error> {
        let remote = Remote::new(vault.clone(), &self.inner);
        if let Secret::MasterKey(master) = secret {
            return Ok(UnlockedKeys { master, created: None });
        }
        let env = &self.inner.env;
        if let Some(attributes) = remote.keys().await? {
            return open_keys(env, &attributes, secret).await;
        }
        let Secret::Password(password) = secret else { return Err(Error::NoKeys) };
        let (attributes, keys) = make_keys(env, password.clone()).await?;
        if remote.create_keys(&attributes).await? {
            return Ok(keys);
        }
        let attributes = remote.keys().await?.ok_or(Error::NoKeys)?;
        open_keys(env, &attributes, Secret::Password(password)).await
    }

    /// Replaces the password. Every device keeps working: the master key stays.
    ///
    /// # Errors
    /// As [`Engine::unlock`]; [`Error::Invalid`] if somebody else changed it at the same moment.
    pub async fn change_password(&self, vault: &Vault, secret: Secret, new: Zeroizing<String>) -> Result<(), Error> {
        let remote = Remote::new(vault.clone(), &self.inner);
        let old = remote.keys().await?.ok_or(Error::NoKeys)?;
        let keys = match secret {
            Secret::MasterKey(master) => UnlockedKeys { master, created: None },
            other => open_keys(&self.inner.env, &old, other).await?,
        };
        let env = &self.inner.env;
        let params = PasswordParams::sensitive(env.random.array());
        let kek = derive(env, new, params).await?;
        let wrapped = wrap_key(&kek, env.random.array(), &keys.master);
        let attributes = KeyAttributes {
            kek_salt: params.salt.to_vec().into(),
            mem_limit: params.mem_bytes,
            ops_limit: params.ops,
            encrypted_key: wrapped.ciphertext.to_vec().into(),
            key_decryption_nonce: wrapped.nonce.to_vec().into(),
            version: old.version + 1,
            ..old.clone()
        };
        if remote.replace_keys(&attributes, old.version).await? {
            Ok(())
        } else {
            Err(Error::Invalid("the password was changed by another device at the same moment".to_owned()))
        }
    }

    /// The recovery key of a vault, as 24 words.
    ///
    /// # Errors
    /// As [`Engine::unlock`].
    pub async fn recovery_phrase(&self, vault: &Vault, secret: Secret) -> Result<Zeroizing<String>, Error> {
        let remote = Remote::new(vault.clone(), &self.inner);
        let attributes = remote.keys().await?.ok_or(Error::NoKeys)?;
        let keys = match secret {
            Secret::MasterKey(master) => UnlockedKeys { master, created: None },
            other => open_keys(&self.inner.env, &attributes, other).await?,
        };
        let wrapped =
            wrapped(&attributes.recovery_key_encrypted_with_master_key, &attributes.recovery_key_decryption_nonce)?;
        let key: RecoveryKey = unwrap_key(&keys.master, &wrapped)
            .map_err(|_| Error::Tampered("the recovery key does not open".to_owned()))?;
        Ok(recovery_phrase(&key))
    }

    /// Keeps a token for later runs, sealed; and the vault's wrapped keys, so that a password can open it.
    ///
    /// # Errors
    /// [`Error::Destination`] if the vault cannot be asked.
    pub async fn keep_token(&self, session: &Session, token: &Token) -> Result<(), Error> {
        let attributes = session.inner.remote.keys().await?.ok_or(Error::NoKeys)?;
        let attributes = serde_json::to_vec(&attributes).expect("key attributes are plain data");
        let sealed = session.inner.seal_secret(&self.inner.env, token.expose().as_bytes());
        let id = session.inner.destination;
        self.inner
            .journal
            .write(move |tx| {
                tx.keep_attributes(id, &attributes)?;
                tx.keep_token(id, &sealed)
            })
            .await?;
        Ok(())
    }

    /// The token that [`Engine::keep_token`] kept, and the keys that opened it. `None` if none was kept.
    ///
    /// # Errors
    /// [`Error::WrongPassword`], [`Error::WrongRecoveryKey`].
    pub async fn kept_token(
        &self,
        destination: &Destination,
        secret: Secret,
    ) -> Result<Option<(Token, UnlockedKeys)>, Error> {
        let (Some(sealed), Some(journal_key), Some(attributes)) =
            (&destination.token, &destination.journal_key, &destination.attributes)
        else {
            return Ok(None);
        };
        let attributes: KeyAttributes = serde_json::from_slice(attributes)
            .map_err(|_| Error::Tampered("the key attributes in the journal cannot be read".to_owned()))?;
        let keys = open_keys(&self.inner.env, &attributes, secret).await?;
        let journal_key: JournalKey =
            unwrap_key(&keys.master, &unpack(journal_key)?).map_err(|_| Error::WrongPassword)?;
        let token = open_secret(&journal_key, sealed).and_then(|token| {
            let text = std::str::from_utf8(&token).ok()?;
            Token::new(text).ok()
        });
        let token = token.ok_or_else(|| Error::Tampered("the token in the journal does not open".to_owned()))?;
        Ok(Some((token, keys)))
    }

    /// Starts a session: notes which vault this is, and opens the key that seals this home's secrets.
    ///
    /// If another vault is where this destination's used to be, everything learned from the old one is forgotten and
    /// what was taken in charge is prepared anew for this one. The same happens, but for the keys, if the vault was put
    /// back to an older state than this home has seen.
    ///
    /// # Errors
    /// [`Error::Destination`] if the vault cannot be asked; [`Error::WrongPassword`] if the master key is another's.
    pub async fn session(
        &self,
        destination: &Destination,
        vault: &Vault,
        keys: &UnlockedKeys,
    ) -> Result<Session, Error> {
        let remote = Remote::new(vault.clone(), &self.inner);
        let id = destination.id;
        // Before the vault is asked: what another process learns meanwhile is later than its answer.
        let (known, newest, waits) = self
            .inner
            .journal
            .read(move |tx| Ok((tx.destination(id)?, tx.newest_record(id)?, tx.waits_for_secrets(id)?)))
            .await?;
        let account = remote.account().await?;
        let is_older = is_older(&remote, &account, &known, newest).await?;
        let stored = match known.journal_key {
            // As every time but the first: nothing has to be written.
            Some(stored) if !is_older && known.vault.as_ref() == Some(&account.vault) => stored,
            _ => self.note_vault(id, &account, is_older.then_some(known.cursor), &keys.master).await?,
        };
        let (kept_journal_key, journal_key) = match unwrap_key(&keys.master, &unpack(&stored)?) {
            Ok(key) => (stored, key),
            // The account was removed and made anew: nothing that was sealed for the old one can be opened any more.
            Err(_) if is_of(&keys.master, &remote.keys().await?.ok_or(Error::NoKeys)?)? => {
                let name = account.vault.clone();
                self.inner.journal.write(move |tx| tx.forget_vault(id, &name)).await?;
                let stored = self.note_vault(id, &account, None, &keys.master).await?;
                let key = unwrap_key(&keys.master, &unpack(&stored)?).map_err(|_| Error::WrongPassword)?;
                (stored, key)
            }
            Err(_) => return Err(Error::WrongPassword),
        };
        let tags = tag_key(&keys.master);
        let session = Session {
            inner: Arc::new(SessionInner {
                destination: id,
                remote,
                account,
                master: keys.master.clone(),
                tags,
                journal_key,
                kept_journal_key,
                collection_keys: Mutex::default(),
            }),
        };
        if waits {
            self.inner
                .journal
                .write(move |tx| {
                    tx.wake_waiting(id, landfall_core::Waits::Unlock)?;
                    tx.wake_waiting(id, landfall_core::Waits::Token)
                })
                .await?;
        }
        Ok(session)
    }

    /// Notes which vault this is, and makes the key that seals this home's secrets; returns the one that is kept. What
    /// was learned from another vault, or from a state of this one up to `put_back` that it no longer has, is forgotten.
    async fn note_vault(
        &self,
        id: DestinationId,
        account: &AccountInfo,
        put_back: Option<i64>,
        master: &MasterKey,
    ) -> Result<Vec<u8>, Error> {
        let env = &self.inner.env;
        let fresh: JournalKey = JournalKey::from_bytes(env.random.array());
        let fresh = pack(&wrap_key(master, env.random.array(), &fresh));
        let name = account.vault.clone();
        let stored = self.inner.journal.write(move |tx| {
            if !tx.note_vault(id, &name)? {
                tx.forget_vault(id, &name)?;
            } else if let Some(seen) = put_back
                && tx.cursor(id)? == seen
            {
                tx.forget_contents(id)?;
            }
            tx.keep_journal_key(id, &fresh)
        });
        Ok(stored.await?)
    }
}

/// Whether a vault was put back to an older state than this home has seen. The cursor alone does not tell: others may have
/// brought so much since that it is higher again, and it is not known of what this home brought itself.
pub(crate) async fn is_older(
    remote: &Remote,
    account: &AccountInfo,
    known: &Destination,
    newest: Option<(i64, Option<String>)>,
) -> Result<bool, Error> {
    if known.vault.as_ref() != Some(&account.vault) {
        return Ok(false);
    }
    if account.cursor < known.cursor {
        return Ok(true);
    }
    let Some((record, object_key)) = newest else { return Ok(false) };
    // One that was removed is still there, without its contents.
    let Some(found) = remote.file(record).await? else { return Ok(true) };
    Ok(object_key.is_some_and(|key| key != found.file.file.object_key))
}

impl SessionInner {
    /// A file key as the journal may keep it.
    pub(crate) fn seal_file_key(&self, env: &Env, key: &FileKey) -> Vec<u8> {
        pack(&wrap_key(&self.journal_key, env.random.array(), key))
    }

    /// One that does not open was sealed for a vault that was forgotten: the file is prepared anew.
    pub(crate) fn open_file_key(&self, sealed: &[u8]) -> Result<FileKey, Failure> {
        let key = unpack(sealed).ok().and_then(|wrapped| unwrap_key(&self.journal_key, &wrapped).ok());
        let why = "its key in the journal does not open: it was prepared for a vault that is forgotten";
        key.ok_or_else(|| Failure::new(Remedy::NewRevision, Code::SourceChanged, why))
    }

    /// Whether the journal still has the key that this session seals with. If not, another process has found another vault
    /// here, and what this one would prepare nobody could open.
    pub(crate) fn is_current(&self, tx: &Tx<'_>) -> Result<bool, StoreError> {
        Ok(tx.destination(self.destination)?.journal_key.as_ref() == Some(&self.kept_journal_key))
    }

    /// Seals a short secret for the journal.
    pub(crate) fn seal_secret(&self, env: &Env, secret: &[u8]) -> Vec<u8> {
        let nonce = env.random.array();
        let mut sealed = nonce.to_vec();
        sealed.extend(secretbox_seal(&self.journal_key, &nonce, secret));
        sealed
    }

    pub(crate) fn collection_key(&self, id: i64, encrypted: &[u8], nonce: &[u8]) -> Result<CollectionKey, Error> {
        let mut keys = self.collection_keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = keys.get(&id) {
            return Ok(key.clone());
        }
        let wrapped = wrapped(&Base64(encrypted.to_vec()), &Base64(nonce.to_vec()))?;
        let key: CollectionKey = unwrap_key(&self.master, &wrapped)
            .map_err(|_| Error::Tampered(format!("the key of collection {id} does not open")))?;
        keys.insert(id, key.clone());
        Ok(key)
    }
}

fn open_secret(key: &JournalKey, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, sealed) = sealed.split_first_chunk::<24>()?;
    secretbox_open(key, nonce, sealed).ok().map(Zeroizing::new)
}

async fn derive(env: &Env, password: Zeroizing<String>, params: PasswordParams) -> Result<KeyEncryptionKey, Error> {
    env.blocking
        .run(move || derive_kek(password.as_bytes(), &params))
        .await
        .map_err(|error| Error::Invalid(error.to_string()))
}

pub(crate) async fn make_keys(env: &Env, password: Zeroizing<String>) -> Result<(KeyAttributes, UnlockedKeys), Error> {
    let params = PasswordParams::sensitive(env.random.array());
    let kek = derive(env, password, params).await?;
    let master = MasterKey::from_bytes(env.random.array());
    let recovery = RecoveryKey::from_bytes(env.random.array());
    let by_password = wrap_key(&kek, env.random.array(), &master);
    let by_recovery = wrap_key(&recovery, env.random.array(), &master);
    let recovery_by_master = wrap_key(&master, env.random.array(), &recovery);
    let attributes = KeyAttributes {
        kek_salt: params.salt.to_vec().into(),
        mem_limit: params.mem_bytes,
        ops_limit: params.ops,
        encrypted_key: by_password.ciphertext.to_vec().into(),
        key_decryption_nonce: by_password.nonce.to_vec().into(),
        master_key_encrypted_with_recovery_key: by_recovery.ciphertext.to_vec().into(),
        master_key_decryption_nonce: by_recovery.nonce.to_vec().into(),
        recovery_key_encrypted_with_master_key: recovery_by_master.ciphertext.to_vec().into(),
        recovery_key_decryption_nonce: recovery_by_master.nonce.to_vec().into(),
        version: 1,
    };
    let created = NewAccount { recovery_phrase: recovery_phrase(&recovery) };
    Ok((attributes, UnlockedKeys { master, created: Some(created) }))
}

pub(crate) async fn open_keys(env: &Env, attributes: &KeyAttributes, secret: Secret) -> Result<UnlockedKeys, Error> {
    let master = match secret {
        Secret::MasterKey(master) => master,
        Secret::Password(password) => {
            let salt =
                attributes.kek_salt.array().ok_or_else(|| Error::Tampered("the salt has a wrong length".to_owned()))?;
            let params = PasswordParams::from_remote(attributes.mem_limit, attributes.ops_limit, salt)
                .map_err(|error| Error::Tampered(error.to_string()))?;
            let kek = derive(env, password, params).await?;
            let wrapped = wrapped(&attributes.encrypted_key, &attributes.key_decryption_nonce)?;
            unwrap_key(&kek, &wrapped).map_err(|_| Error::WrongPassword)?
        }
        Secret::RecoveryKey(recovery) => {
            let wrapped =
                wrapped(&attributes.master_key_encrypted_with_recovery_key, &attributes.master_key_decryption_nonce)?;
            unwrap_key(&recovery, &wrapped).map_err(|_| Error::WrongRecoveryKey)?
        }
    };
    Ok(UnlockedKeys { master, created: None })
}

/// Whether an account's keys are of this master key.
pub(crate) fn is_of(master: &MasterKey, attributes: &KeyAttributes) -> Result<bool, Error> {
    let recovery =
        wrapped(&attributes.recovery_key_encrypted_with_master_key, &attributes.recovery_key_decryption_nonce)?;
    Ok(unwrap_key::<RecoveryKey>(master, &recovery).is_ok())
}

pub(crate) fn wrapped(ciphertext: &Base64, nonce: &Base64) -> Result<WrappedKey, Error> {
    match (nonce.array(), ciphertext.array()) {
        (Some(nonce), Some(ciphertext)) => Ok(WrappedKey { nonce, ciphertext }),
        _ => Err(Error::Tampered("a wrapped key has a wrong length".to_owned())),
    }
}

/// Nonce and ciphertext in one piece, as the journal keeps them.
fn pack(wrapped: &WrappedKey) -> Vec<u8> {
    [&wrapped.nonce[..], &wrapped.ciphertext[..]].concat()
}

fn unpack(bytes: &[u8]) -> Result<WrappedKey, Error> {
    let (nonce, ciphertext) =
        bytes.split_first_chunk().ok_or_else(|| Error::Tampered("a wrapped key in the journal is short".to_owned()))?;
    let ciphertext =
        ciphertext.try_into().map_err(|_| Error::Tampered("a wrapped key in the journal is short".to_owned()))?;
    Ok(WrappedKey { nonce: *nonce, ciphertext })
}
