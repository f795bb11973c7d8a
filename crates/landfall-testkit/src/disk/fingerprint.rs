//! Tells two runs apart.

/// A running hash: fast, the same on every machine, and no defence against anyone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fingerprint(u64);

/// What is known about the bytes of a file.
///
/// SQLite draws the salts of its logs from a generator that all connections of an OS process share, whichever file
/// system they use. They and the checksums that follow from them differ between two runs of one seed; nothing
/// else does, and nothing depends on them. So they are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Every byte counts.
    Plain,
    /// A write-ahead log.
    Wal,
    /// A rollback journal: only its length counts.
    Journal,
}

const WAL_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// Where the salts and checksums begin; they reach to the end of the header.
const WAL_HEADER_SALTS: usize = 16;
const FRAME_HEADER_SALTS: usize = 8;

impl Default for Fingerprint {
    fn default() -> Self {
        Self(0x2545_f491_4f6c_dd1d)
    }
}

impl Fingerprint {
    pub(super) fn value(self) -> u64 {
        self.0
    }

    pub(super) fn word(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.word(u64::from_le_bytes(*word)));
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.word(u64::from_le_bytes(last));
    }

    /// One write. SQLite writes the headers of its log by themselves.
    pub(super) fn write(&mut self, shape: Shape, inode: u64, offset: u64, bytes: &[u8]) {
        self.word(inode);
        self.word(offset);
        match (shape, bytes.len()) {
            (Shape::Plain, _) => self.bytes(bytes),
            (Shape::Wal, WAL_HEADER) if offset == 0 => self.bytes(&bytes[..WAL_HEADER_SALTS]),
            (Shape::Wal, FRAME_HEADER) => self.bytes(&bytes[..FRAME_HEADER_SALTS]),
            (Shape::Wal, _) => self.bytes(bytes),
            (Shape::Journal, len) => self.word(len as u64),
        }
    }

    /// A file as a whole.
    pub(super) fn content(&mut self, shape: Shape, bytes: &[u8]) {
        match shape {
            Shape::Plain => self.bytes(bytes),
            Shape::Journal => self.word(bytes.len() as u64),
            Shape::Wal => {
                self.word(bytes.len() as u64);
                let Some((header, frames)) = bytes.split_at_checked(WAL_HEADER) else { return };
                self.bytes(&header[..WAL_HEADER_SALTS]);
                let page = u32::from_be_bytes([header[8], header[9], header[10], header[11]]) as usize;
                for frame in frames.chunks(FRAME_HEADER + page) {
                    self.bytes(&frame[..frame.len().min(FRAME_HEADER_SALTS)]);
                    self.bytes(frame.get(FRAME_HEADER..).unwrap_or_default());
                }
            }
        }
    }
}
