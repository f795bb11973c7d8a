use crate::{
    CHUNK_OVERHEAD, ChunkBuffer, ChunkLen, ChunkSealer, FileKey, MacXor, OpenError, StreamHeader, StreamOpener,
};

/// The longest thumbnail or metadata that is sealed as one blob: 16 MiB.
pub const BLOB_LEN_MAX: usize = 16 << 20;

/// Seals something short, such as a thumbnail or metadata, as a stream of one chunk.
///
/// It may have the key of its file but has a header of its own, drawn for it.
///
/// # Errors
/// [`BlobTooLong`] if it is longer than [`BLOB_LEN_MAX`].
pub fn seal_blob(key: &FileKey, header: &StreamHeader, plaintext: &[u8]) -> Result<Vec<u8>, BlobTooLong> {
    let mut buffer = buffer_for(plaintext.len()).ok_or(BlobTooLong)?;
    buffer.message_mut(plaintext.len()).copy_from_slice(plaintext);
    let sealer = ChunkSealer::new(key, header);
    sealer.seal(0, &MacXor::default(), &mut buffer, true).expect("every stream can have a first chunk");
    Ok(buffer.wire().to_vec())
}

/// Opens what [`seal_blob`] sealed.
///
/// # Errors
/// [`OpenError`]; more than [`BLOB_LEN_MAX`] is [`OpenError::TrailingBytes`].
pub fn open_blob(key: &FileKey, header: &StreamHeader, sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
    let plain_len = sealed.len().checked_sub(CHUNK_OVERHEAD as usize).ok_or(OpenError::Truncated)?;
    let mut buffer = buffer_for(plain_len).ok_or(OpenError::TrailingBytes)?;
    buffer.wire_mut(sealed.len()).copy_from_slice(sealed);

    let mut opener = StreamOpener::new(key, header, ChunkLen::MAX);
    opener.open_chunk(&mut buffer)?;
    opener.finish()?;
    Ok(buffer.message().to_vec())
}

/// The blob is longer than [`BLOB_LEN_MAX`]. Make it smaller, or seal it as a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a blob is at most {BLOB_LEN_MAX} bytes long")]
pub struct BlobTooLong;

fn buffer_for(len: usize) -> Option<ChunkBuffer> {
    let len = u32::try_from(len).ok().filter(|&len| len as usize <= BLOB_LEN_MAX)?;
    ChunkLen::new(len.max(1)).map(ChunkBuffer::with_capacity)
}
