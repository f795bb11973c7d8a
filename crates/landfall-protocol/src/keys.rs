//! The key material of an account, every part of it wrapped.

use serde::{Deserialize, Serialize};

use crate::Base64;

/// How a password, or the recovery key, opens the account's master key. The shape of Ente's key attributes.
///
/// The password's key-encryption key is Argon2id v1.3 of the password with `kek_salt`, `mem_limit` bytes and
/// `ops_limit` passes; wraps are libsodium's `crypto_secretbox_easy` (48 bytes for a 32-byte key, 24-byte nonces).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyAttributes {
    /// Salt of the password's key, 16 bytes.
    pub kek_salt: Base64,
    /// Argon2id memory in bytes.
    pub mem_limit: u64,
    /// Argon2id passes.
    pub ops_limit: u32,
    /// Master key wrapped by the password's key.
    pub encrypted_key: Base64,
    /// Nonce of `encrypted_key`.
    pub key_decryption_nonce: Base64,
    /// Master key wrapped by the recovery key.
    pub master_key_encrypted_with_recovery_key: Base64,
    /// Nonce of the above.
    pub master_key_decryption_nonce: Base64,
    /// Recovery key wrapped by the master key.
    pub recovery_key_encrypted_with_master_key: Base64,
    /// Nonce of the above.
    pub recovery_key_decryption_nonce: Base64,
    /// Starts at 1 and rises with every change of password. A change names the version it replaces.
    #[serde(default)]
    pub version: u32,
}
