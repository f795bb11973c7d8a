use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::STANDARD};

/// The BLAKE2b-512 of a whole file, by which equal files are recognised. It is shown as base64.
///
/// It tells what the file is to whoever has the file too, so it is kept sealed; a [`content_tag`](crate::content_tag)
/// is what others may see.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 64]);

impl Digest {
    /// The digest of bytes that are all in memory.
    pub fn of(bytes: &[u8]) -> Self {
        let mut state = DigestState::new();
        state.update(bytes);
        state.finalize()
    }

    /// Takes a digest out of a record.
    pub fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// The bytes, for a record.
    pub fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        let bytes = STANDARD.decode(text).map_err(|_| NotADigest)?;
        bytes.try_into().map(Self).map_err(|_| NotADigest)
    }
}

/// The text is not the base64 of 64 bytes. Correct it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the base64 of a digest")]
pub struct NotADigest;

/// A digest being made, from one piece of the file after another.
///
/// It cannot be saved and continued in another process: a file that was read in part is read again.
#[derive(Clone)]
pub struct DigestState(blake2b_simd::State);

impl DigestState {
    /// The state before the first byte.
    pub fn new() -> Self {
        Self(blake2b_simd::State::new())
    }

    /// Adds the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The digest of all pieces.
    pub fn finalize(&self) -> Digest {
        Digest(*self.0.finalize().as_array())
    }
}

impl Default for DigestState {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for DigestState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DigestState(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_nothing_is_known() {
        let empty = "eGoC90IBWQPGxv2FJVLScpEvR0DhWEdhiobiF/cfVBnSXhAxr+5YUxOJZESTTrBLkDpoWxRIt1XVb3Aa/pvizg==";
        assert_eq!(Digest::of(b"").to_string(), empty);
        assert_eq!(empty.parse(), Ok(Digest::of(b"")));
        assert_eq!("eGoC".parse::<Digest>(), Err(NotADigest));
    }

    #[test]
    fn pieces_make_the_digest_of_the_whole() {
        let bytes: Vec<u8> = (0..5000).map(|i| (i % 251) as u8).collect();
        let mut state = DigestState::new();
        bytes.chunks(333).for_each(|piece| state.update(piece));
        assert_eq!(state.finalize(), Digest::of(&bytes));
    }
}
