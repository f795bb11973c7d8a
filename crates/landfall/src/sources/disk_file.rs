//! A file on a disk that may hang.

use std::{io, sync::Arc};

use landfall_core::Failure;
use landfall_env::{Blocking, File, FileStatus};

use super::{AHEAD_BYTES, DiskFiles, Inner, PIECE_BYTES, lock, silent};
use crate::source::failure_of;

/// An open file on a disk that may hang. It is gone with the first call that does, or that cannot be made.
pub(crate) struct DiskFile {
    files: DiskFiles,
    file: Option<OpenFile>,
    /// Why it is gone.
    lost: Option<Failure>,
    /// Bytes that were read with others, and from where on.
    ahead: (u64, Vec<u8>),
}

impl DiskFile {
    pub(super) fn new(files: DiskFiles, file: Box<dyn File>) -> Self {
        let file = OpenFile { file: Some(file), inner: Arc::clone(&files.inner) };
        Self { files, file: Some(file), lost: None, ahead: (0, Vec::new()) }
    }

    /// Why nothing can be read any more, if a call has failed to come back or to be made.
    pub(crate) fn lost(&self) -> Option<&Failure> {
        self.lost.as_ref()
    }

    /// What is open, whatever its name is by now.
    pub(crate) fn status(&mut self) -> io::Result<FileStatus> {
        self.ask(|file| file.status())?
    }

    /// Reads at a position, as many bytes as there are up to the buffer's length; fewer only at the end of the file.
    pub(crate) fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        if let (Blocking::Inline | Blocking::After(_), Some(file)) = (self.files.inner.blocking, self.file.as_mut()) {
            return file.get().read_at(offset, buffer);
        }
        let mut filled = 0;
        while filled < buffer.len() {
            let (at, rest) = (offset + filled as u64, &mut buffer[filled..]);
            let (wanted, count) = if rest.len() < AHEAD_BYTES {
                (rest.len(), self.short(at, rest)?)
            } else {
                let length = rest.len().min(PIECE_BYTES);
                (length, self.piece(at, length, |piece| rest[..piece.len()].copy_from_slice(piece))?)
            };
            filled += count;
            if count < wanted {
                break;
            }
        }
        Ok(filled)
    }

    /// Reads a few bytes, and those behind them for the next time.
    fn short(&mut self, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let known = |(from, ahead): &(u64, Vec<u8>)| {
            let skip = usize::try_from(at.checked_sub(*from)?).ok()?;
            ahead.get(skip..skip.checked_add(buffer.len())?).map(<[u8]>::to_vec)
        };
        if let Some(known) = known(&self.ahead) {
            buffer.copy_from_slice(&known);
            return Ok(buffer.len());
        }
        let mut ahead = Vec::new();
        self.piece(at, AHEAD_BYTES, |piece| ahead.extend_from_slice(piece))?;
        let count = buffer.len().min(ahead.len());
        buffer[..count].copy_from_slice(&ahead[..count]);
        self.ahead = (at, ahead);
        Ok(count)
    }

    /// One read, into memory that a disk may keep when it hangs.
    fn piece(&mut self, offset: u64, length: usize, take: impl FnOnce(&[u8])) -> io::Result<usize> {
        let mut piece = lock(&self.files.inner.pieces).pop().unwrap_or_default();
        piece.resize(length, 0);
        let (piece, count) = self.ask(move |file| {
            let count = file.read_at(offset, &mut piece);
            (piece, count)
        })?;
        if let Ok(count) = &count {
            take(&piece[..*count]);
        }
        lock(&self.files.inner.pieces).push(piece);
        count
    }

    /// Makes one call. The file is on the disk's thread meanwhile, and stays there if it hangs.
    fn ask<T: Send + 'static>(&mut self, call: impl FnOnce(&mut dyn File) -> T + Send + 'static) -> io::Result<T> {
        let mut file = self.file.take().ok_or_else(|| silent("an earlier read of it hangs"))?;
        let answered = self.files.inner.call(&self.files.disk, move |_| {
            let answer = call(file.get());
            (file, answer)
        });
        match answered {
            Ok((file, answer)) => {
                self.file = Some(file);
                Ok(answer)
            }
            Err(error) => {
                self.lost = Some(failure_of(&error));
                Err(error)
            }
        }
    }
}

/// A file that is closed where nobody waits for it, wherever it is dropped: also with a call that was never made.
struct OpenFile {
    file: Option<Box<dyn File>>,
    inner: Arc<Inner>,
}

impl OpenFile {
    fn get(&mut self) -> &mut dyn File {
        self.file.as_deref_mut().expect("it is there until it is dropped")
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            self.inner.close(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::mpsc,
        thread::{self, ThreadId},
        time::Duration,
    };

    use futures_util::FutureExt as _;
    use landfall_core::{Code, DiskHealth, Remedy};
    use landfall_env::{Apart, Env};

    use super::*;
    use crate::sources::{Disk, Sources};

    const DISK: Disk = Disk::Device(7);

    /// A file that tells which thread closes it.
    struct Telling(mpsc::Sender<ThreadId>);

    impl File for Telling {
        fn read_at(&mut self, _: u64, _: &mut [u8]) -> io::Result<usize> {
            Ok(0)
        }

        fn append(&mut self, _: &[u8]) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn set_modified(&mut self, _: i128) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn sync(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn status(&self) -> io::Result<FileStatus> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    impl Drop for Telling {
        fn drop(&mut self) {
            let _ = self.0.send(thread::current().id());
        }
    }

    /// Sources of a system that has so many threads left.
    fn sources(threads: usize) -> Sources {
        let (left, apart) = (std::sync::Mutex::new(threads), Apart::default());
        let start = move |work| match &mut *lock(&left) {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            left => {
                *left -= 1;
                apart.start(work)
            }
        };
        Sources::with(&Env::real(), Duration::from_secs(60), Box::new(start))
    }

    fn open(sources: &Sources) -> (DiskFile, mpsc::Receiver<ThreadId>) {
        let (telling, closed) = mpsc::channel();
        (DiskFile::new(sources.on(DISK), Box::new(Telling(telling))), closed)
    }

    #[test]
    fn a_file_on_a_disk_that_was_given_up_is_closed_where_nobody_waits() {
        let sources = sources(usize::MAX);
        let (mut file, closed) = open(&sources);
        let mut health = DiskHealth::default();
        (0..DiskHealth::GIVEN_UP_AFTER).for_each(|_| health.fell_silent());
        lock(&sources.inner.ill).insert(DISK, health);
        assert_eq!(file.read_at(0, &mut [0; 10]).map_err(|error| error.kind()), Err(io::ErrorKind::TimedOut));
        assert_eq!(file.lost().map(|failure| failure.code), Some(Code::SourceStalled));
        assert_ne!(closed.recv(), Ok(thread::current().id()));
    }

    #[test]
    fn without_a_thread_work_and_reads_are_tried_again_and_files_are_closed_later() {
        let none = sources(0);
        let refused =
            none.run(|| ()).now_or_never().expect("nothing is waited for").map_err(|error| failure_of(&error));
        assert_eq!(refused.map_err(|failure| failure.remedy), Err(Remedy::Retry));
        let (mut file, closed) = open(&none);
        assert!(file.read_at(0, &mut [0; 10]).is_err());
        assert_eq!(file.lost().map(|failure| failure.remedy), Some(Remedy::Retry));
        drop(file);
        assert_eq!(closed.try_recv(), Err(mpsc::TryRecvError::Empty));

        let one = sources(1);
        let (earlier, closed_earlier) = mpsc::channel();
        lock(&one.inner.unclosed).push(Box::new(Telling(earlier)));
        let (file, closed) = open(&one);
        drop(file);
        for closed in [closed_earlier, closed] {
            assert_ne!(closed.recv(), Ok(thread::current().id()));
        }
    }
}
