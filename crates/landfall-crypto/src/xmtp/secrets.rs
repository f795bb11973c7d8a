use std::fmt;

use hkdf::Hkdf;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::{ZeroizeOnDrop, Zeroizing};

/// The longest secret that is read out of a message. Clients make 32 bytes.
pub const SECRET_LEN_MAX: usize = 64;

/// What opens one payload: a secret, the salt that makes it a key, and the nonce of the cipher.
///
/// All three are drawn at random for one content and never used for another. They are wiped when this is dropped, are
/// never printed, and equality takes the same time whatever they are.
#[derive(Clone)]
pub struct AttachmentSecrets {
    secret: Zeroizing<Vec<u8>>,
    salt: Zeroizing<[u8; SALT_LEN]>,
    nonce: Zeroizing<[u8; NONCE_LEN]>,
}

impl AttachmentSecrets {
    /// Makes secrets of bytes just drawn. The caller wipes its own copy.
    pub fn new(secret: [u8; 32], salt: [u8; 32], nonce: [u8; 12]) -> Self {
        let secret = Zeroizing::new(secret);
        Self { secret: Zeroizing::new(secret.to_vec()), salt: Zeroizing::new(salt), nonce: Zeroizing::new(nonce) }
    }

    /// Takes the secrets out of a message, whose writer may have drawn a secret of another length.
    ///
    /// # Errors
    /// [`NotSecrets`] if the secret is empty or longer than [`SECRET_LEN_MAX`], or the salt has not 32 bytes, or the
    /// nonce not 12.
    pub fn from_parts(secret: &[u8], salt: &[u8], nonce: &[u8]) -> Result<Self, NotSecrets> {
        if secret.is_empty() || secret.len() > SECRET_LEN_MAX {
            return Err(NotSecrets::Secret(secret.len()));
        }
        Ok(Self {
            secret: Zeroizing::new(secret.to_vec()),
            salt: Zeroizing::new(salt.try_into().map_err(|_| NotSecrets::Salt(salt.len()))?),
            nonce: Zeroizing::new(nonce.try_into().map_err(|_| NotSecrets::Nonce(nonce.len()))?),
        })
    }

    /// The salt, the nonce and the secret, one behind the other, to be kept at rest: sealed, as by
    /// [`secretbox_seal`](crate::secretbox_seal).
    pub fn to_record(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new([&self.salt[..], &self.nonce[..], &self.secret[..]].concat())
    }

    /// Takes the secrets out of what [`to_record`](Self::to_record) made.
    ///
    /// # Errors
    /// [`NotSecrets`] if it did not make it.
    pub fn from_record(record: &[u8]) -> Result<Self, NotSecrets> {
        let (salt, rest) = record.split_at_checked(SALT_LEN).ok_or(NotSecrets::Salt(record.len()))?;
        let (nonce, secret) = rest.split_at_checked(NONCE_LEN).ok_or(NotSecrets::Nonce(rest.len()))?;
        Self::from_parts(secret, salt, nonce)
    }

    /// The secret, for a message. It is not logged, printed or compared with `==`.
    pub fn expose_secret(&self) -> &[u8] {
        &self.secret
    }

    /// The salt, for a message.
    pub fn expose_salt(&self) -> &[u8; 32] {
        &self.salt
    }

    /// The nonce, for a message.
    pub fn expose_nonce(&self) -> &[u8; 12] {
        &self.nonce
    }

    /// The key of the cipher.
    pub(super) fn key(&self) -> Zeroizing<[u8; 32]> {
        let mut key = Zeroizing::new([0; 32]);
        let hkdf = Hkdf::<Sha256>::new(Some(&*self.salt), &self.secret);
        hkdf.expand(&[], &mut *key).expect("32 bytes are one block of HKDF, which gives up to 255");
        key
    }
}

impl ZeroizeOnDrop for AttachmentSecrets {}

impl PartialEq for AttachmentSecrets {
    fn eq(&self, other: &Self) -> bool {
        let salts = self.salt.ct_eq(&*other.salt);
        let nonces = self.nonce.ct_eq(&*other.nonce);
        (self.secret.ct_eq(&other.secret) & salts & nonces).into()
    }
}

impl Eq for AttachmentSecrets {}

impl fmt::Debug for AttachmentSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AttachmentSecrets(..)")
    }
}

/// The bytes cannot be the secrets of an attachment. The record or the message is damaged; ask for it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotSecrets {
    /// The secret has this many bytes.
    #[error("a secret has 1 to {SECRET_LEN_MAX} bytes, not {0}")]
    Secret(usize),
    /// The salt has this many bytes.
    #[error("a salt has {SALT_LEN} bytes, not {0}")]
    Salt(usize),
    /// The nonce has this many bytes.
    #[error("a nonce has {NONCE_LEN} bytes, not {0}")]
    Nonce(usize),
}

const SALT_LEN: usize = 32;
const NONCE_LEN: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_that_of_hkdf_without_info() {
        assert_eq!(hex::encode(*secrets().key()), "9d7454efd23c4734540dbc9ab88dac56d22ef56757ac77b92cbb857ec32d1f8e");
    }

    #[test]
    fn a_record_comes_back() {
        let short = AttachmentSecrets::from_parts(&[1], &[2; 32], &[3; 12]).unwrap();
        for secrets in [secrets(), short] {
            assert_eq!(AttachmentSecrets::from_record(&secrets.to_record()), Ok(secrets));
        }
        assert_eq!(AttachmentSecrets::from_record(&[0; 31]), Err(NotSecrets::Salt(31)));
        assert_eq!(AttachmentSecrets::from_record(&[0; 43]), Err(NotSecrets::Nonce(11)));
        assert_eq!(AttachmentSecrets::from_record(&[0; 44]), Err(NotSecrets::Secret(0)));
    }

    #[test]
    fn only_lengths_that_clients_make_are_taken() {
        let taken = |secret, salt, nonce| {
            AttachmentSecrets::from_parts(&vec![0; secret], &vec![0; salt], &vec![0; nonce]).map(|_| ())
        };
        for secret in [1, 4, 32, SECRET_LEN_MAX] {
            assert_eq!(taken(secret, 32, 12), Ok(()));
        }
        for secret in [0, SECRET_LEN_MAX + 1] {
            assert_eq!(taken(secret, 32, 12), Err(NotSecrets::Secret(secret)));
        }
        for salt in [0, 31, 33] {
            assert_eq!(taken(32, salt, 12), Err(NotSecrets::Salt(salt)));
        }
        for nonce in [0, 11, 13, 16] {
            assert_eq!(taken(32, 32, nonce), Err(NotSecrets::Nonce(nonce)));
        }
    }

    #[test]
    fn secrets_differ_by_each_of_their_parts_and_are_not_printed() {
        let other = |at: usize| {
            let mut record = secrets().to_record();
            record[at] ^= 1;
            AttachmentSecrets::from_record(&record).unwrap()
        };
        for at in [0, 31, 32, 43, 44, 75] {
            assert_ne!(secrets(), other(at), "byte {at}");
        }
        assert_eq!(format!("{:?}", secrets()), "AttachmentSecrets(..)");
    }

    fn secrets() -> AttachmentSecrets {
        let run = |first: u8| std::array::from_fn::<u8, 32, _>(|i| first + i as u8);
        AttachmentSecrets::new(run(0), run(0x20), std::array::from_fn(|i| 0x40 + i as u8))
    }
}
