//! What other readers of archives say. They are tools of the machine, so `tests/peers/archives.sh` runs these tests.

use std::{
    fs::File,
    io::{Seek as _, SeekFrom, Write as _},
    path::PathBuf,
    process::Command,
};

use super::{
    tests::{Archive, crc32, zeros},
    *,
};
use crate::deflate::deflate_file;

#[test]
#[ignore = "needs python3, unzip and zipinfo"]
fn other_readers_unpack_an_archive() {
    let log = br#"{"action":"click"}"#.repeat(1000);
    let mut stream = Vec::new();
    let deflated = deflate_file(log.as_slice(), &mut stream).unwrap();
    let long = format!("{}/{}.png", "folder".repeat(30), "n".repeat(200));
    let files: [(&str, &[u8]); 4] =
        [("video/日本 ü.mp4", b"frames"), ("empty", b""), (&long, b"picture"), ("..a/.b", b"odd")];
    let entry = |(name, content): &(&str, &[u8])| Entry { crc32: crc32(content), ..zeros(name, content.len() as u64) };
    let mut entries: Vec<_> = files.iter().map(entry).collect();
    entries.push(Entry {
        name: "actions.json".to_owned(),
        size: deflated.plain,
        stored: deflated.stored,
        crc32: deflated.crc32,
        method: Method::Deflated,
    });
    let contents = files.iter().map(|(_, content)| content.to_vec()).chain([stream]).collect();
    let archive = Archive::of(entries).with_contents(contents);

    let world = World::new();
    File::create(&world.zip).unwrap().write_all(&archive.bytes(0..archive.layout.size())).unwrap();
    let told = world.python(
        "for i in z.infolist(): print(i.filename, i.file_size, i.compress_type, i.flag_bits, i.create_system, \
             oct(i.external_attr >> 16), i.date_time, i.extra, i.comment)\n\
         assert z.testzip() is None",
    );
    let expected = |name: &str, size: usize, method: u8| {
        format!("{name} {size} {method} 2048 3 0o100644 (1980, 1, 1, 0, 0, 0) b'' b''")
    };
    let lines: Vec<_> = told.lines().collect();
    let long = expected(&long, 7, 0);
    assert_eq!(lines[0], expected("..a/.b", 3, 0));
    assert_eq!(lines[1..4], [expected("actions.json", 18_000, 8), expected("empty", 0, 0), long]);
    assert_eq!(lines[4..], [expected("video/日本 ü.mp4", 6, 0)]);
    assert!(world.run("unzip", &["-t"]).contains("No errors detected"));
    let listed = world.run("zipinfo", &["-l"]);
    assert_eq!(listed.matches("-rw-r--r--  6.3 unx").count(), 5, "{listed}");
    assert!(!listed.contains("warning"), "{listed}");

    let folder = world.zip.with_file_name("unpacked");
    output(Command::new("unzip").arg("-q").arg(&world.zip).arg("-d").arg(&folder));
    assert_eq!(std::fs::read(folder.join("actions.json")).unwrap(), log);
    assert_eq!(std::fs::read(folder.join("video/日本 ü.mp4")).unwrap(), b"frames");
}

#[test]
#[ignore = "needs python3, unzip and zipinfo; reads several gigabytes of zeros"]
fn other_readers_read_a_film_of_5_gib_and_what_comes_behind_it() {
    const FILM: u64 = 5 << 30;
    let film = Entry { crc32: crc32_of_zeros(FILM), ..zeros("film.mp4", FILM) };
    let world = World::new();
    world.write_sparse(&Archive::of(vec![zeros("after", 0), film, zeros("last/z", 0)]).layout);
    let told = world
        .python("for i in z.infolist(): print(i.filename, i.file_size, i.header_offset)\nassert z.testzip() is None");
    let header_of_last = 35 + 38 + 20 + FILM;
    assert_eq!(told, format!("after 0 0\nfilm.mp4 {FILM} 35\nlast/z 0 {header_of_last}\n"));
    assert!(world.run("unzip", &["-t"]).contains("No errors detected"));
    assert!(world.run("zipinfo", &["-l"]).contains(&format!("{FILM}")));
}

#[test]
#[ignore = "needs python3, unzip and zipinfo"]
fn other_readers_read_70_000_entries() {
    let entries =
        (0..70_000).map(|number| Entry { crc32: crc32_of_zeros(10), ..zeros(&format!("{number:06}.jpg"), 10) });
    let world = World::new();
    world.write_sparse(&Archive::of(entries.collect()).layout);
    let told =
        world.python("n = z.namelist(); print(len(n), n[0], n[-1], len(z.read(n[-1])))\nassert z.testzip() is None");
    assert_eq!(told, "70000 000000.jpg 069999.jpg 10\n");
    assert!(world.run("unzip", &["-t"]).contains("No errors detected"));
    assert!(world.run("zipinfo", &["-h"]).contains("70000"));
}

/// An archive as a file, and those who read it.
struct World {
    zip: PathBuf,
    _folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { zip: folder.path().join("bundle.zip"), _folder: folder }
    }

    /// Writes an archive of zeros whose contents take no room on the disk.
    fn write_sparse(&self, layout: &Layout) {
        let mut file = File::create(&self.zip).unwrap();
        file.set_len(layout.size()).unwrap();
        for piece in layout.pieces(0..layout.size()) {
            match piece {
                Piece::Bytes(bytes) => file.write_all(&bytes).unwrap(),
                Piece::Source { length, .. } => {
                    file.seek(SeekFrom::Current(i64::try_from(length).unwrap())).unwrap();
                }
            }
        }
    }

    /// Runs statements about the archive `z`, and returns what they print.
    fn python(&self, statements: &str) -> String {
        let script = format!("import sys, zipfile\nz = zipfile.ZipFile(sys.argv[1])\n{statements}");
        output(Command::new("python3").env("PYTHONIOENCODING", "utf-8").args(["-c", &script]).arg(&self.zip))
    }

    fn run(&self, tool: &str, options: &[&str]) -> String {
        output(Command::new(tool).env("LC_ALL", "C.UTF-8").args(options).arg(&self.zip))
    }
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let (told, complained) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && complained.is_empty(), "{told}{complained}");
    told
}

fn crc32_of_zeros(count: u64) -> u32 {
    let zeros = vec![0; 1 << 20];
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32IsoHdlc);
    let mut left = count;
    while left > 0 {
        let some = left.min(zeros.len() as u64);
        digest.update(&zeros[..some as usize]);
        left -= some;
    }
    digest.finalize() as u32
}
