//! One budget for everything large: chunk buffers and decoders ask here before they take memory.

use std::sync::{Arc, Mutex, PoisonError};

use landfall_crypto::{ChunkBuffer, ChunkLen, SealedChunk};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What the engine may hold at once by default, in bytes.
pub(crate) const BUDGET_BYTES: u64 = 32 << 20;
/// What one decoder may ask for at most by default, in bytes: the rest must go on moving.
pub(crate) const DECODER_BYTES: u64 = 24 << 20;

const UNIT: u64 = 1024;

/// Hands out memory. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Memory {
    permits: Arc<Semaphore>,
    /// Buffers are used again: fresh ones would have to be zeroed, and fragment the heap.
    pool: Arc<Mutex<Vec<ChunkBuffer>>>,
    chunk_len: ChunkLen,
    units: u32,
}

impl Memory {
    pub(crate) fn new(budget_bytes: u64, chunk_len: ChunkLen) -> Self {
        let chunk = chunk_len.sealed_bytes() as u64;
        // A budget below two chunks could never move a file of two.
        let units = u32::try_from((budget_bytes.max(2 * chunk) / UNIT).max(4)).unwrap_or(u32::MAX >> 4);
        Self { permits: Arc::new(Semaphore::new(units as usize)), pool: Arc::default(), chunk_len, units }
    }

    pub(crate) fn chunk_len(&self) -> ChunkLen {
        self.chunk_len
    }

    /// Waits for room for one chunk.
    pub(crate) async fn chunk(&self) -> HeldBuffer {
        let room = self.room(self.chunk_len.bytes() as u64).await;
        let pooled = lock(&self.pool).pop();
        let buffer = pooled.unwrap_or_else(|| ChunkBuffer::with_capacity(self.chunk_len));
        HeldBuffer { buffer: Some(buffer), pool: Arc::clone(&self.pool), room }
    }

    /// Waits for room for `bytes`; more than the whole budget counts as the whole budget.
    pub(crate) async fn room(&self, bytes: u64) -> Room {
        let units = u32::try_from(bytes / UNIT).unwrap_or(u32::MAX).clamp(1, self.units);
        let permit = Arc::clone(&self.permits).acquire_many_owned(units).await;
        Room { _permit: permit.expect("the semaphore is never closed") }
    }
}

/// Leave to hold memory, while it lives.
pub(crate) struct Room {
    _permit: OwnedSemaphorePermit,
}

/// A chunk buffer that goes back to the pool when it is dropped.
pub(crate) struct HeldBuffer {
    buffer: Option<ChunkBuffer>,
    pool: Arc<Mutex<Vec<ChunkBuffer>>>,
    room: Room,
}

impl HeldBuffer {
    pub(crate) fn get(&mut self) -> &mut ChunkBuffer {
        self.buffer.as_mut().expect("a held buffer is there until it is dropped or sealed")
    }

    pub(crate) fn take(mut self) -> (ChunkBuffer, EmptyHold) {
        let buffer = self.buffer.take().expect("a held buffer is there until it is dropped or sealed");
        let pool = Arc::clone(&self.pool);
        (buffer, EmptyHold { hold: self, pool })
    }
}

impl Drop for HeldBuffer {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            lock(&self.pool).push(buffer);
        }
        let _ = &self.room;
    }
}

/// A buffer's message, lent to whoever sends it.
pub(crate) struct HeldMessage(HeldBuffer);

impl HeldMessage {
    pub(crate) fn new(buffer: HeldBuffer) -> Self {
        Self(buffer)
    }
}

impl AsRef<[u8]> for HeldMessage {
    fn as_ref(&self) -> &[u8] {
        self.0.buffer.as_ref().map_or(&[], ChunkBuffer::message)
    }
}

/// The room of a buffer that is being sealed.
pub(crate) struct EmptyHold {
    hold: HeldBuffer,
    pool: Arc<Mutex<Vec<ChunkBuffer>>>,
}

impl EmptyHold {
    /// Holds a sealed chunk in the room of its buffer.
    pub(crate) fn hold(self, chunk: SealedChunk) -> HeldChunk {
        HeldChunk { chunk: Some(chunk), pool: self.pool, _hold: self.hold }
    }
}

/// A sealed chunk that lends its bytes, and whose buffer goes back to the pool when the last of them was sent.
pub(crate) struct HeldChunk {
    chunk: Option<SealedChunk>,
    pool: Arc<Mutex<Vec<ChunkBuffer>>>,
    _hold: HeldBuffer,
}

impl AsRef<[u8]> for HeldChunk {
    fn as_ref(&self) -> &[u8] {
        self.chunk.as_ref().map_or(&[], SealedChunk::wire)
    }
}

impl Drop for HeldChunk {
    fn drop(&mut self) {
        if let Some(chunk) = self.chunk.take() {
            lock(&self.pool).push(chunk.into_buffer());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
