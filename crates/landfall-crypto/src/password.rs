use dryoc::classic::crypto_pwhash::{PasswordHashAlgorithm, crypto_pwhash};
use zeroize::Zeroizing;

use crate::KeyEncryptionKey;

/// How dear it is to try a password. It is kept, in the open, beside the key that the password opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasswordParams {
    /// How much memory one try takes.
    pub mem_bytes: u64,
    /// How often one try goes through that memory.
    pub ops: u32,
    /// What makes one password cost anew for every account: drawn when the password is set.
    pub salt: [u8; 16],
}

impl PasswordParams {
    /// The memory of [`sensitive`](Self::sensitive) parameters: 256 MiB.
    pub const SENSITIVE_MEM_BYTES: u64 = 256 << 20;
    /// The passes of [`sensitive`](Self::sensitive) parameters.
    pub const SENSITIVE_OPS: u32 = 16;

    /// What a new password gets: about two seconds and 256 MiB for one try.
    pub fn sensitive(salt: [u8; 16]) -> Self {
        Self { mem_bytes: Self::SENSITIVE_MEM_BYTES, ops: Self::SENSITIVE_OPS, salt }
    }

    /// Takes parameters that another party stated, if a try costs no less than with [`sensitive`](Self::sensitive) ones.
    ///
    /// What is derived from the password may be shown to that party, so it must not be able to choose how hard the
    /// password is to guess. Memory may be traded for passes down to 128 MiB, as small devices do.
    ///
    /// # Errors
    /// [`PasswordError::TooWeak`] and [`PasswordError::TooDear`].
    pub fn from_remote(mem_bytes: u64, ops: u32, salt: [u8; 16]) -> Result<Self, PasswordError> {
        let params = Self { mem_bytes, ops, salt };
        params.check()?;
        let floor = Self::SENSITIVE_MEM_BYTES * u64::from(Self::SENSITIVE_OPS);
        if mem_bytes < REMOTE_MEM_BYTES_MIN || mem_bytes * u64::from(ops) < floor {
            return Err(PasswordError::TooWeak);
        }
        Ok(params)
    }

    /// Parameters that cost nothing and protect nothing.
    #[doc(hidden)]
    pub fn weak_for_tests(salt: [u8; 16]) -> Self {
        Self { mem_bytes: MEM_BYTES_MIN, ops: 1, salt }
    }

    fn check(&self) -> Result<(), PasswordError> {
        if self.mem_bytes < MEM_BYTES_MIN || self.ops == 0 {
            return Err(PasswordError::TooWeak);
        }
        if self.mem_bytes > MEM_BYTES_MAX || self.ops > OPS_MAX {
            return Err(PasswordError::TooDear);
        }
        Ok(())
    }
}

/// Derives the key that opens the master key from a password, by Argon2id (version 1.3, one lane).
///
/// It takes as long and as much memory as `params` say, on this thread: once per unlock, not per start. Equal passwords
/// and parameters give equal keys. The password's bytes are taken as they are.
///
/// # Errors
/// [`PasswordError::TooWeak`] below 8 MiB or without a pass, [`PasswordError::TooDear`] above 1 GiB or 64 passes, and
/// [`PasswordError::OutOfMemory`].
pub fn derive_kek(password: &[u8], params: &PasswordParams) -> Result<KeyEncryptionKey, PasswordError> {
    params.check()?;
    let mem_bytes = usize::try_from(params.mem_bytes).map_err(|_| PasswordError::TooDear)?;
    let mut kek = Zeroizing::new([0; 32]);
    let argon2id = PasswordHashAlgorithm::Argon2id13;
    crypto_pwhash(&mut *kek, password, &params.salt, params.ops.into(), mem_bytes, argon2id)
        .map_err(|_| PasswordError::OutOfMemory)?; // all else that it refuses has been refused above
    Ok(KeyEncryptionKey::from_bytes(*kek))
}

/// Why no key was derived from a password. Nothing was computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PasswordError {
    /// A try would cost an attacker too little. If a server stated the parameters, do not unlock with it.
    #[error("the parameters of the password make it too cheap to guess")]
    TooWeak,
    /// A try would cost more than any device should spend. If a server stated the parameters, do not unlock with it.
    #[error("the parameters of the password ask for too much memory or time")]
    TooDear,
    /// The memory that the parameters ask for is not there. Close something, or unlock on another device.
    #[error("there is not enough memory to check the password")]
    OutOfMemory,
}

const MEM_BYTES_MIN: u64 = 8 << 20;
const MEM_BYTES_MAX: u64 = 1 << 30;
const OPS_MAX: u32 = 64;
const REMOTE_MEM_BYTES_MIN: u64 = 128 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

    #[test]
    fn the_key_is_the_one_libsodium_derives() {
        let kek = derive_kek(b"correct horse", &PasswordParams::sensitive(SALT)).unwrap();
        assert_eq!(hex::encode(kek.expose()), "a19ea6db60221c19abb12f026692cc891d28c2dabb60588d0e090f740cb26820");
    }

    #[test]
    fn another_password_or_salt_gives_another_key() {
        let weak = PasswordParams::weak_for_tests(SALT);
        let kek = derive_kek(b"one", &weak).unwrap();
        assert_eq!(derive_kek(b"one", &weak), Ok(kek.clone()));
        assert_ne!(derive_kek(b"two", &weak), Ok(kek.clone()));
        assert_ne!(derive_kek(b"one", &PasswordParams::weak_for_tests([0; 16])), Ok(kek));
    }

    #[test]
    fn a_server_can_ask_neither_for_too_little_nor_for_too_much() {
        let asked = |mem_bytes, ops| PasswordParams::from_remote(mem_bytes, ops, SALT).map(|_| ());
        assert_eq!(asked(256 << 20, 16), Ok(()));
        assert_eq!(asked(128 << 20, 32), Ok(()));
        assert_eq!(asked(1 << 30, 4), Ok(()));
        for (mem_bytes, ops) in [(0, 0), (256 << 20, 15), (64 << 20, 64), (128 << 20, 31), (1 << 30, 3)] {
            assert_eq!(asked(mem_bytes, ops), Err(PasswordError::TooWeak), "{mem_bytes} bytes, {ops} passes");
        }
        for (mem_bytes, ops) in [((1 << 30) + 1, 4), (100 << 30, 16), (u64::MAX, u32::MAX), (256 << 20, 65)] {
            assert_eq!(asked(mem_bytes, ops), Err(PasswordError::TooDear), "{mem_bytes} bytes, {ops} passes");
        }
    }

    #[test]
    fn parameters_out_of_bounds_are_refused_before_any_memory_is_taken() {
        let refused = |mem_bytes, ops| derive_kek(b"", &PasswordParams { mem_bytes, ops, salt: SALT }).unwrap_err();
        assert_eq!(refused(MEM_BYTES_MIN - 1, 1), PasswordError::TooWeak);
        assert_eq!(refused(MEM_BYTES_MIN, 0), PasswordError::TooWeak);
        assert_eq!(refused(u64::MAX, 1), PasswordError::TooDear);
        assert_eq!(refused(MEM_BYTES_MIN, OPS_MAX + 1), PasswordError::TooDear);
    }
}
