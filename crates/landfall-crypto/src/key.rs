use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::secretbox::{WrongKey, open_into, seal_into};

/// A secret of 32 bytes that is wiped when it is dropped and is never printed.
///
/// Equality takes the same time whatever the bytes are. Each key has its own type, so that none is used for another.
pub trait SecretKey: Clone + Eq + fmt::Debug + ZeroizeOnDrop + sealed::Sealed {
    /// Takes the key out of its 32 bytes. The caller wipes its own copy.
    fn from_bytes(bytes: [u8; 32]) -> Self;

    /// The bytes, for a cipher or a key store. They are not logged, printed or compared with `==`.
    fn expose(&self) -> &[u8; 32];
}

/// A key that seals other keys and short records: see [`wrap_key`] and [`secretbox_seal`](crate::secretbox_seal).
pub trait WrappingKey: SecretKey {}

/// Seals `key` under `wrapping`, as libsodium's `crypto_secretbox_easy` does.
///
/// A nonce is drawn at random for every call: two keys sealed under one nonce can both be read.
pub fn wrap_key(wrapping: &impl WrappingKey, nonce: [u8; 24], key: &impl SecretKey) -> WrappedKey {
    let mut ciphertext = [0; 48];
    seal_into(wrapping, &nonce, key.expose(), &mut ciphertext);
    WrappedKey { nonce, ciphertext }
}

/// Opens what [`wrap_key`] sealed.
///
/// # Errors
/// [`WrongKey`] if `wrapping` did not seal it or it has been altered.
pub fn unwrap_key<K: SecretKey>(wrapping: &impl WrappingKey, wrapped: &WrappedKey) -> Result<K, WrongKey> {
    let mut bytes = [0; 32];
    open_into(wrapping, &wrapped.nonce, &wrapped.ciphertext, &mut bytes)?;
    let key = K::from_bytes(bytes);
    bytes.zeroize();
    Ok(key)
}

/// A key sealed under another. It tells nothing and may be stored anywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrappedKey {
    /// The nonce it was sealed under.
    pub nonce: [u8; 24],
    /// The MAC, then the encrypted key.
    pub ciphertext: [u8; 48],
}

macro_rules! secret_keys {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Zeroize, ZeroizeOnDrop)]
        pub struct $name([u8; 32]);

        impl $name {
            /// Takes the key out of its 32 bytes. The caller wipes its own copy.
            pub fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The bytes, for a cipher or a key store. They are not logged, printed or compared with `==`.
            pub fn expose(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl SecretKey for $name {
            fn from_bytes(bytes: [u8; 32]) -> Self {
                Self::from_bytes(bytes)
            }

            fn expose(&self) -> &[u8; 32] {
                self.expose()
            }
        }

        impl sealed::Sealed for $name {}

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.0.ct_eq(&other.0).into()
            }
        }

        impl Eq for $name {}

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    )*};
}

secret_keys! {
    /// What a password becomes by [`derive_kek`](crate::derive_kek). It wraps the master key and nothing else.
    KeyEncryptionKey;
    /// The root of an account: it wraps the keys of collections, and the other keys of the account come from it.
    MasterKey;
    /// Wraps the keys of the files of one collection.
    CollectionKey;
    /// Seals one file, its thumbnail and its metadata, each under a header of its own.
    FileKey;
    /// Opens the master key when the password is forgotten. People see it as words.
    RecoveryKey;
    /// Seals what the journal keeps at rest: keys of files and tokens.
    JournalKey;
    /// A host's own: seals what the journal keeps of messages. It lives in the platform's key store.
    HostKey;
    /// Seals the bodies of one lane's messages for those who have it.
    LaneKey;
    /// Makes tags by which equal contents and equal names are found without being known.
    TagKey;
}

impl WrappingKey for KeyEncryptionKey {}
impl WrappingKey for MasterKey {}
impl WrappingKey for CollectionKey {}
impl WrappingKey for RecoveryKey {}
impl WrappingKey for JournalKey {}
impl WrappingKey for HostKey {}
impl WrappingKey for LaneKey {}

mod sealed {
    pub trait Sealed {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrapped_key_is_what_libsodium_would_make_of_it() {
        let (collection, file) = (CollectionKey::from_bytes(run(0x20)), FileKey::from_bytes(run(0x60)));
        let wrapped = wrap_key(&collection, run(0xa0), &file);
        assert_eq!(
            hex::encode(wrapped.ciphertext),
            "52b8d22f298a8e1606362d8d934b1d298bbc7ed34d18438925bb5860b30baf7089420ebde6ff0a8e06118aa713ca42d1"
        );
        assert_eq!(unwrap_key(&collection, &wrapped), Ok(file));
    }

    #[test]
    fn a_wrapped_key_opens_under_no_other_key_and_not_when_altered() {
        let collection = CollectionKey::from_bytes(run(0x20));
        let wrapped = wrap_key(&collection, run(0xa0), &FileKey::from_bytes(run(0x60)));
        assert_eq!(unwrap_key::<FileKey>(&CollectionKey::from_bytes(run(0x21)), &wrapped), Err(WrongKey));
        for bit in 0..48 * 8 {
            let mut altered = wrapped.clone();
            altered.ciphertext[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(unwrap_key::<FileKey>(&collection, &altered), Err(WrongKey), "bit {bit}");
        }
        for bit in 0..24 * 8 {
            let mut altered = wrapped.clone();
            altered.nonce[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(unwrap_key::<FileKey>(&collection, &altered), Err(WrongKey), "bit {bit} of the nonce");
        }
    }

    #[test]
    fn a_key_is_not_printed() {
        assert_eq!(format!("{:?}", Some(FileKey::from_bytes([0xab; 32]))), "Some(FileKey(..))");
    }

    fn run<const N: usize>(first: u8) -> [u8; N] {
        std::array::from_fn(|i| first + i as u8)
    }
}
