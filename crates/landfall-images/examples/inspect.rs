//! Shows what Landfall makes of every file in a folder: `inspect DIR [OUT]`, and writes the thumbnails to `OUT`.
//!
//! One line a file on standard output. Exits with 1 if a file crashed a decoder, a thumbnail broke a promise (size,
//! proportions, bytes, readability) or a file that is named like a photo or a video was not known as one.

use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    process::ExitCode,
};

use landfall_images::{
    MediaKind, Metadata, NoThumbnail, SNIFF_LENGTH, Thumbnail, ThumbnailLimits, date_from_name, memory_needed,
    read_metadata, sniff, thumbnail,
};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(folder), out) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: inspect DIR [OUT]");
        return ExitCode::from(2);
    };
    let mut files = Vec::new();
    if let Err(error) = collect(&folder, &mut files) {
        eprintln!("error: could not list `{}`: {error}", folder.display());
        return ExitCode::from(2);
    }
    files.sort();
    let problems: usize = files.iter().map(|file| inspect(file, &folder, out.as_deref())).sum();
    println!("{} files, {problems} problems", files.len());
    ExitCode::from(u8::from(problems > 0 || files.is_empty()))
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}

/// Prints one line, and says how many promises were broken.
fn inspect(path: &Path, folder: &Path, out: Option<&Path>) -> usize {
    let name = path.strip_prefix(folder).unwrap_or(path).display().to_string();
    let mut problems = Vec::new();
    let line = match look(path, &mut problems) {
        Ok(Some((kind, metadata, drawn))) => {
            if let (Some(out), Ok(small)) = (out, &drawn) {
                let target = out.join(format!("{}.jpg", name.replace('/', "_")));
                if let Err(error) = fs::create_dir_all(out).and_then(|()| fs::write(target, &small.jpeg)) {
                    problems.push(format!("could not be written: {error}"));
                }
            }
            describe(kind, &metadata, &drawn, &name)
        }
        Ok(None) => {
            let is_empty = fs::metadata(path).is_ok_and(|metadata| metadata.len() == 0);
            if named_like_media(path) && !is_empty && !known_as_foreign(&name) {
                problems.push("it is named like media and not known as such".to_owned());
            }
            "not media".to_owned()
        }
        Err(error) => {
            problems.push(error.to_string());
            "unreadable".to_owned()
        }
    };
    println!("{name}: {line}");
    for problem in &problems {
        println!("{name}: PROBLEM: {problem}");
    }
    problems.len()
}

type Look = (MediaKind, Metadata, Result<Thumbnail, NoThumbnail>);

fn look(path: &Path, problems: &mut Vec<String>) -> std::io::Result<Option<Look>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut head = Vec::new();
    (&mut file).take(SNIFF_LENGTH as u64).read_to_end(&mut head)?;
    let Some(kind) = sniff(&head) else { return Ok(None) };
    let limits = ThumbnailLimits::default();
    let metadata = read_metadata(&mut file, length, kind);
    let needed = memory_needed(&mut file, length, kind, &limits);
    let drawn = thumbnail(&mut file, length, kind, metadata.orientation, &limits);
    match &drawn {
        Ok(small) => check(small, needed, &limits, problems),
        Err(NoThumbnail::Malformed(why)) if why == "the decoder failed" => problems.push(why.clone()),
        Err(NoThumbnail::Unreadable(why)) => problems.push(why.clone()),
        Err(_) => {}
    }
    Ok(Some((kind, metadata, drawn)))
}

fn check(small: &Thumbnail, needed: Option<u64>, limits: &ThumbnailLimits, problems: &mut Vec<String>) {
    if small.jpeg.len() > limits.max_bytes || small.width.max(small.height) > limits.edge {
        problems.push("the thumbnail is too large".to_owned());
    }
    if needed.is_none_or(|needed| needed > limits.memory_bytes) {
        problems.push("it was drawn without the memory it asked for".to_owned());
    }
    let mut decoder = jpeg_decoder::Decoder::new(small.jpeg.as_slice());
    let sides = decoder.decode().ok().and_then(|_| decoder.info()).map(|info| (info.width.into(), info.height.into()));
    if sides != Some((small.width, small.height)) {
        problems.push("the thumbnail is no readable JPEG of its size".to_owned());
    }
}

fn describe(kind: MediaKind, metadata: &Metadata, drawn: &Result<Thumbnail, NoThumbnail>, name: &str) -> String {
    let mut words = vec![kind.name().to_owned()];
    words.extend(metadata.upright_size().map(|(width, height)| format!("{width}x{height}")));
    words.push(format!("orientation={}", metadata.orientation.exif_value()));
    words.extend(metadata.taken_at.map(|taken_at| format!("taken={taken_at}")));
    words.extend(date_from_name(name).map(|date| format!("named={date}")));
    words.extend(metadata.gps.map(|(latitude, longitude)| format!("gps={latitude:.4},{longitude:.4}")));
    words.extend(metadata.camera_make.as_ref().map(|make| format!("make={make:?}")));
    words.extend(metadata.camera_model.as_ref().map(|model| format!("model={model:?}")));
    words.extend(metadata.duration_ms.map(|duration_ms| format!("duration={duration_ms}ms")));
    words.extend(metadata.malformed.then(|| "malformed".to_owned()));
    words.push(match drawn {
        Ok(small) => format!("thumbnail={}x{} {} bytes", small.width, small.height, small.jpeg.len()),
        Err(why) => format!("no thumbnail: {why}"),
    });
    words.join(" ")
}

fn named_like_media(path: &Path) -> bool {
    const EXTENSIONS: [&str; 18] = [
        "jpg", "jpeg", "png", "gif", "webp", "heic", "heif", "hif", "avif", "tif", "tiff", "dng", "cr2", "cr3", "nef",
        "mp4", "mov", "raf",
    ];
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    EXTENSIONS.contains(&extension.as_str())
}

/// Files made to be broken from their first byte on, by their makers' own words.
fn known_as_foreign(name: &str) -> bool {
    ["corrupt", "invalid", "broken", "poc"].iter().any(|word| name.to_lowercase().contains(word))
}
