//! What proves that a destination holds the bytes that were sent.

use crate::state::names;

/// A checksum that a destination keeps with what it stores.
///
/// Which of them an endpoint understands is found out once; a plan never changes its algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// CRC-64/NVME. Checksums of parts combine to that of the object.
    Crc64Nvme,
    /// CRC-32C (Castagnoli). An object of several parts has a checksum of checksums.
    Crc32c,
    /// SHA-256. An object of several parts has a checksum of checksums.
    Sha256,
}

names!(Algorithm { Crc64Nvme = "crc64nvme", Crc32c = "crc32c", Sha256 = "sha256" });

impl Algorithm {
    /// All of them, best first: the first covers a whole object, the last is understood by most.
    pub const ALL: [Self; 3] = [Self::Crc64Nvme, Self::Crc32c, Self::Sha256];

    /// Bytes of a checksum.
    pub fn bytes(self) -> usize {
        match self {
            Self::Crc64Nvme => 8,
            Self::Crc32c => 4,
            Self::Sha256 => 32,
        }
    }

    /// An object of several parts has one over all its bytes, and not over the checksums of its parts.
    pub fn covers_object(self) -> bool {
        self == Self::Crc64Nvme
    }
}

/// A checksum and its algorithm.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Checksum {
    algorithm: Algorithm,
    bytes: Vec<u8>,
}

impl Checksum {
    /// A checksum of these bytes, highest first; `None` if their number is not the algorithm's.
    pub fn new(algorithm: Algorithm, bytes: impl Into<Vec<u8>>) -> Option<Self> {
        let bytes = bytes.into();
        (bytes.len() == algorithm.bytes()).then_some(Self { algorithm, bytes })
    }

    /// How it was made.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Its bytes, highest first, as on the wire.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}
