//! What a file that is to be sent is, told from its first bytes.

use std::{io, path::Path};

use landfall_env::FileKind;
use landfall_images::{MediaKind, SNIFF_LENGTH, sniff};

use super::{NewFile, Treatment, payload};
use crate::{Engine, Error};

impl NewFile {
    /// Looks at a file: a photo that can be made smaller here will be, anything else goes as it is.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read; [`Error::Invalid`] if it is no file.
    pub async fn found(engine: &Engine, path: &Path) -> Result<Self, Error> {
        let env = &engine.inner.env;
        let (files, opened) = (env.files.clone(), path.to_owned());
        let head = env.blocking.run(move || {
            // Opening a pipe would wait for somebody to write.
            if files.status(&opened)?.kind != FileKind::File {
                return Ok(None);
            }
            let mut head = vec![0; SNIFF_LENGTH];
            let count = files.open(&opened)?.read_at(0, &mut head)?;
            head.truncate(count);
            Ok::<_, io::Error>(Some(head))
        });
        let head = head.await.map_err(|source| Error::Io { action: "read", path: path.to_owned(), source })?;
        let no_file = || Error::Invalid(format!("`{}` is no file", path.display()));
        let head = head.ok_or_else(no_file)?;
        let name = path.file_name().ok_or_else(no_file)?.to_string_lossy().into_owned();
        let treatment = if payload::is_drawable(&head) { Treatment::Photo } else { Treatment::AsItIs };
        Ok(Self { path: path.to_owned(), name, mime: mime(sniff(&head)).to_owned(), treatment })
    }
}

fn mime(kind: Option<MediaKind>) -> &'static str {
    use MediaKind::*;
    match kind {
        Some(Jpeg) => "image/jpeg",
        Some(Png) => "image/png",
        Some(Gif) => "image/gif",
        Some(WebP) => "image/webp",
        Some(Heic) => "image/heic",
        Some(Avif) => "image/avif",
        Some(Tiff) => "image/tiff",
        Some(Bmp) => "image/bmp",
        Some(Jxl) => "image/jxl",
        Some(Mp4) => "video/mp4",
        Some(Mov) => "video/quicktime",
        Some(ThreeGp) => "video/3gpp",
        Some(WebM) => "video/webm",
        Some(_) | None => "application/octet-stream",
    }
}
