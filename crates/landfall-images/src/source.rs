use std::io::{self, Read, Seek, SeekFrom};

/// Where the bytes of a file come from.
pub trait ReadSeek: Read + Seek {}

impl<T: Read + Seek + ?Sized> ReadSeek for T {}

/// Why a part of a file could not be had.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The file is not what its kind says, or ends early.
    Malformed(&'static str),
    /// The file may be fine, but the device, the network or the host refused to read it. The source remembers why.
    Unreadable,
}

/// A file of known length, read in small pieces at any place, up to a budget.
///
/// Pieces come through one page, so that a directory read entry by entry costs one read. As [`Read`] and [`Seek`] it
/// serves decoders: from the window last chosen, without the page and without the budget.
pub(crate) struct Source<'a> {
    reader: &'a mut dyn ReadSeek,
    length: u64,
    page: Vec<u8>,
    page_at: u64,
    budget: u64,
    window: (u64, u64),
    position: u64,
    failure: Option<io::Error>,
}

impl<'a> Source<'a> {
    pub(crate) fn new(reader: &'a mut dyn ReadSeek, length: u64) -> Self {
        let (page, window) = (Vec::new(), (0, length));
        Self { reader, length, page, page_at: 0, budget: BUDGET, window, position: 0, failure: None }
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// The `N` bytes at a place.
    pub(crate) fn array<const N: usize>(&mut self, at: u64) -> Result<[u8; N], Fault> {
        let mut bytes = [0; N];
        self.fill(at, &mut bytes)?;
        Ok(bytes)
    }

    /// So many bytes at a place; callers bound `length` by what the field may sensibly hold.
    pub(crate) fn piece(&mut self, at: u64, length: usize) -> Result<Vec<u8>, Fault> {
        let end = at.checked_add(length as u64).ok_or(Fault::Malformed("an offset overflows"))?;
        if end > self.length {
            return Err(Fault::Malformed("the file ends early"));
        }
        let mut bytes = vec![0; length];
        self.fill(at, &mut bytes)?;
        Ok(bytes)
    }

    pub(crate) fn be16(&mut self, at: u64) -> Result<u16, Fault> {
        self.array(at).map(u16::from_be_bytes)
    }

    pub(crate) fn be32(&mut self, at: u64) -> Result<u32, Fault> {
        self.array(at).map(u32::from_be_bytes)
    }

    pub(crate) fn be64(&mut self, at: u64) -> Result<u64, Fault> {
        self.array(at).map(u64::from_be_bytes)
    }

    /// Shows decoders only this part of the file, from its beginning.
    pub(crate) fn show(&mut self, at: u64, length: u64) {
        let start = at.min(self.length);
        self.window = (start, length.min(self.length - start));
        self.position = 0;
    }

    /// The part decoders see.
    pub(crate) fn shown(&self) -> (u64, u64) {
        self.window
    }

    /// What the reader said when it failed for a reason other than the end of the file.
    pub(crate) fn take_failure(&mut self) -> Option<io::Error> {
        self.failure.take()
    }

    fn fill(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), Fault> {
        self.spend(READ_COST)?;
        let mut done = 0;
        while done < bytes.len() {
            let place = at.checked_add(done as u64).ok_or(Fault::Malformed("an offset overflows"))?;
            let within = place.checked_sub(self.page_at).filter(|&within| within < self.page.len() as u64);
            let Some(within) = within else {
                self.turn_to(place)?;
                continue;
            };
            let available = &self.page[within as usize..];
            let taken = available.len().min(bytes.len() - done);
            bytes[done..done + taken].copy_from_slice(&available[..taken]);
            done += taken;
        }
        Ok(())
    }

    /// Loads the page that begins where it is needed: directories and boxes are read forward.
    fn turn_to(&mut self, place: u64) -> Result<(), Fault> {
        let length = self.length.saturating_sub(place).min(PAGE);
        self.spend(length)?;
        self.page.clear();
        self.page_at = place;
        let loaded = self
            .reader
            .seek(SeekFrom::Start(place))
            .and_then(|_| (&mut *self.reader).take(length).read_to_end(&mut self.page));
        match loaded {
            Ok(0) => Err(Fault::Malformed("the file ends early")),
            Ok(_) => Ok(()),
            Err(error) => {
                self.page.clear();
                self.failure = Some(error);
                Err(Fault::Unreadable)
            }
        }
    }

    fn spend(&mut self, cost: u64) -> Result<(), Fault> {
        self.budget = self.budget.checked_sub(cost).ok_or(Fault::Malformed("its structure is too intricate"))?;
        Ok(())
    }
}

impl Read for Source<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (start, length) = self.window;
        let wanted = length.saturating_sub(self.position).min(buffer.len() as u64) as usize;
        if wanted == 0 {
            return Ok(0);
        }
        let place = SeekFrom::Start(start + self.position);
        match self.reader.seek(place).and_then(|_| self.reader.read(&mut buffer[..wanted])) {
            Ok(read) => {
                self.position += read as u64;
                Ok(read)
            }
            Err(error) => {
                let copy = io::Error::new(error.kind(), error.to_string());
                if error.kind() != io::ErrorKind::Interrupted {
                    self.failure = Some(error);
                }
                Err(copy)
            }
        }
    }
}

impl Seek for Source<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let place = match to {
            SeekFrom::Start(place) => Some(place),
            SeekFrom::Current(step) => self.position.checked_add_signed(step),
            SeekFrom::End(step) => self.window.1.checked_add_signed(step),
        };
        // Clipped so that no sum with the start of the window overflows; nothing is there to be read anyway.
        let place = place.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?.min(i64::MAX as u64);
        self.position = place;
        Ok(place)
    }
}

const PAGE: u64 = 4096;
/// All that is read of one file for its metadata, and the price of one look at it: about 2,000 pages, 100,000 looks.
const BUDGET: u64 = 8 << 20;
const READ_COST: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    #[test]
    fn pieces_across_pages_are_whole() {
        let file: Vec<u8> = (0..20_000u32).map(|n| n as u8).collect();
        let mut reader = Cursor::new(&file);
        let mut source = Source::new(&mut reader, 20_000);
        assert_eq!(source.piece(4000, 9000).unwrap(), file[4000..13_000]);
        assert_eq!(source.array::<4>(19_996).unwrap(), file[19_996..]);
        assert!(matches!(source.array::<5>(19_996), Err(Fault::Malformed(_))));
        assert!(matches!(source.array::<1>(u64::MAX), Err(Fault::Malformed(_))));
    }

    #[test]
    fn the_budget_ends_a_file_that_leads_in_circles() {
        let mut reader = Cursor::new(vec![0; 20_000]);
        let mut source = Source::new(&mut reader, 20_000);
        let looks = (0..).take_while(|n| source.array::<1>(n % 2 * 10_000).is_ok()).count();
        assert!(looks < 3000, "{looks}");
    }

    #[test]
    fn decoders_see_only_the_window() {
        let mut reader = Cursor::new(b"0123456789".to_vec());
        let mut source = Source::new(&mut reader, 10);
        source.show(3, 4);
        let mut text = String::new();
        source.read_to_string(&mut text).unwrap();
        assert_eq!(text, "3456");
        source.seek(SeekFrom::End(-1)).unwrap();
        source.read_to_string(&mut text).unwrap();
        assert_eq!(text, "34566");
        source.seek(SeekFrom::Start(u64::MAX)).unwrap();
        assert_eq!(source.read(&mut [0; 4]).unwrap(), 0);
    }
}
