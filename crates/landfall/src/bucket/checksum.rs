//! Checksums of parts, and of the whole.

use crc_fast::{CrcAlgorithm, Digest as Crc};
use landfall_core::{Algorithm, Proof};
use sha2::{Digest as _, Sha256};

/// The checksum of a part, while its bytes go by.
pub(crate) enum Summing {
    Crc { crc: Crc, bytes: usize },
    Sha256(Sha256),
}

impl Summing {
    pub(crate) fn new(proof: Proof) -> Self {
        match proof {
            Proof::Checksum(algorithm @ Algorithm::Crc64Nvme) => {
                Self::Crc { crc: Crc::new(CrcAlgorithm::Crc64Nvme), bytes: algorithm.bytes() }
            }
            Proof::Checksum(algorithm @ Algorithm::Crc32c) => {
                Self::Crc { crc: Crc::new(CrcAlgorithm::Crc32Iscsi), bytes: algorithm.bytes() }
            }
            Proof::Checksum(Algorithm::Sha256) | Proof::SignedPayload => Self::Sha256(Sha256::new()),
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Crc { crc, .. } => crc.update(bytes),
            Self::Sha256(hash) => hash.update(bytes),
        }
    }

    /// The checksum, highest byte first.
    pub(crate) fn finish(self) -> Vec<u8> {
        match self {
            Self::Crc { crc, bytes } => crc.finalize().to_be_bytes()[8 - bytes..].to_vec(),
            Self::Sha256(hash) => hash.finalize().to_vec(),
        }
    }
}

/// The checksum of a whole object out of those of its parts, each with its length: over all bytes if the algorithm can be
/// combined, over the checksums of the parts otherwise. An object of one part has the part's. Where the bucket keeps none
/// it tells contents apart in this home alone.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html>
pub(crate) fn of_object(proof: Proof, parts: &[(&[u8], u64)]) -> Option<Vec<u8>> {
    let combines = matches!(proof, Proof::Checksum(algorithm) if algorithm.covers_object());
    match parts {
        [] => None,
        [(only, _)] => Some(only.to_vec()),
        [(first, _), rest @ ..] if combines => {
            let whole = rest.iter().fold(number(first), |whole, (part, length)| {
                crc_fast::checksum_combine(CrcAlgorithm::Crc64Nvme, whole, number(part), *length)
            });
            Some(whole.to_be_bytes().to_vec())
        }
        parts => {
            let mut summing = Summing::new(proof);
            parts.iter().for_each(|(part, _)| summing.update(part));
            Some(summing.finish())
        }
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(proof: Proof, bytes: &[u8]) -> Vec<u8> {
        let mut summing = Summing::new(proof);
        summing.update(bytes);
        summing.finish()
    }

    /// The check values of the catalogue of parametrised CRC algorithms, and that of FIPS 180-2.
    #[test]
    fn a_part_s_checksum_is_that_of_its_algorithm() {
        let of = |proof| hex::encode(sum(proof, b"123456789"));
        assert_eq!(of(Proof::Checksum(Algorithm::Crc64Nvme)), "ae8b14860a799888");
        assert_eq!(of(Proof::Checksum(Algorithm::Crc32c)), "e3069283");
        let abc = hex::encode(sum(Proof::SignedPayload, b"abc"));
        assert_eq!(abc, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn checksums_of_parts_make_that_of_the_object() {
        let (first, second, third) = (b"1234".as_slice(), b"56".as_slice(), b"789".as_slice());
        let whole = |proof| {
            let parts = [first, second, third].map(|part| (sum(proof, part), part.len() as u64));
            let parts: Vec<(&[u8], u64)> = parts.iter().map(|(sum, length)| (sum.as_slice(), *length)).collect();
            of_object(proof, &parts)
        };
        let covering = Proof::Checksum(Algorithm::Crc64Nvme);
        assert_eq!(whole(covering).unwrap(), sum(covering, b"123456789"));
        let composite = Proof::Checksum(Algorithm::Crc32c);
        let of_sums: Vec<u8> = [first, second, third].into_iter().flat_map(|part| sum(composite, part)).collect();
        assert_eq!(whole(composite).unwrap(), sum(composite, &of_sums));
        assert_eq!(whole(Proof::SignedPayload), whole(Proof::Checksum(Algorithm::Sha256)));
    }
}
