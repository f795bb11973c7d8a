//! A home, a vault and media in a folder of their own.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::OnceLock,
    time::{Duration, SystemTime},
};

use landfall_images::fixture::{Jpeg, Movie, png, webp};
use serde_json::Value;
use tempfile::TempDir;

/// The password of every world.
pub(crate) const PASSWORD: &str = "correct horse";

/// A moment long ago, with nanoseconds.
const TAKEN_NS: u64 = 1_234_567_890_123_456_789;

pub(crate) struct World {
    folder: TempDir,
}

impl World {
    /// Nothing but an empty folder for media.
    pub(crate) fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("Pictures")).unwrap();
        Self { folder }
    }

    /// A home that keeps the key of a vault without contents. Passwords are stretched once for all of these worlds.
    pub(crate) fn unlocked() -> Self {
        static FIRST: OnceLock<World> = OnceLock::new();
        let first = FIRST.get_or_init(|| {
            let world = Self::empty();
            let unlock = world.landfall().args(["unlock", "--remember"]).env("LANDFALL_PASSWORD", PASSWORD).output();
            let unlock = Done(unlock.unwrap());
            unlock.exits(0);
            let phrase: Vec<&str> = unlock.stderr().lines().filter(|line| line.starts_with("      ")).collect();
            fs::write(world.path("phrase"), phrase.join(" ")).unwrap();
            world
        });
        let world = Self::empty();
        copy(&first.path("home"), &world.path("home"));
        copy(&first.path("home-vault"), &world.path("home-vault"));
        fs::copy(first.path("phrase"), world.path("phrase")).unwrap();
        world
    }

    /// The words that were shown when the vault was made.
    pub(crate) fn phrase(&self) -> String {
        fs::read_to_string(self.path("phrase")).unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn pictures(&self) -> PathBuf {
        self.path("Pictures")
    }

    /// The binary, with this world's home and no other part of the environment.
    pub(crate) fn landfall(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_landfall"));
        command.env_clear().env("LANDFALL_HOME", self.path("home")).env("TMPDIR", self.folder.path());
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    pub(crate) fn run<I: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> Done {
        Done(self.landfall().args(arguments).output().unwrap())
    }

    /// A file of media below the folder, taken long ago.
    pub(crate) fn put(&self, place: impl AsRef<[u8]>, bytes: &[u8]) -> PathBuf {
        let path = self.pictures().join(OsStr::from_bytes(place.as_ref()));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        set_modified(&path, TAKEN_NS);
        path
    }

    /// One picture per number.
    pub(crate) fn put_pictures(&self, numbers: std::ops::Range<u64>) {
        for number in numbers {
            self.put(format!("p{number}.png"), &png(number, 24, 16));
        }
    }

    /// Everything a folder of real media has: 8 orientations, several kinds, names of every sort, duplicates.
    pub(crate) fn put_real_media(&self) {
        for value in 1..=8 {
            let jpeg = Jpeg::new(48, 32).seed(u64::from(value)).orientation(value);
            let jpeg = jpeg.taken("2021:02:03 04:05:06", Some("+01:00")).gps(27.59, 86.56).camera("Maker", "Model");
            self.put(format!("2021/turned {value}.jpg"), &jpeg.bytes());
        }
        self.put("a.png", &png(1, 24, 16));
        self.put("copy of a.png", &png(1, 24, 16));
        self.put("deep/er/still a.png", &png(1, 24, 16));
        self.put("w.webp", &webp(2, 24, 16));
        self.put("clip.mp4", &Movie::mp4(200_000).seed(3).bytes());
        self.put("clip.mov", &Movie::mov(100_000).seed(4).bytes());
        self.put("2021/turned 1.jpg.xmp", b"<x:xmpmeta/>");
        self.put("2021/turned 2.aae", b"<plist/>");
        self.put("ünïcödé 🏔.png", &png(5, 24, 16));
        self.put("line\nbreak.png", &png(6, 24, 16));
        self.put(b"not \xff text.png", &png(7, 24, 16));
        self.put([&[b'n'; 251][..], b".png"].concat(), &png(8, 24, 16));
    }
}

/// A process that has ended.
pub(crate) struct Done(pub(crate) Output);

impl Done {
    #[track_caller]
    pub(crate) fn exits(&self, code: i32) -> &Self {
        let (out, err) = (self.stdout(), self.stderr());
        assert_eq!(self.0.status.code(), Some(code), "stdout:\n{out}\nstderr:\n{err}");
        self
    }

    pub(crate) fn stdout(&self) -> &str {
        std::str::from_utf8(&self.0.stdout).unwrap()
    }

    pub(crate) fn stderr(&self) -> &str {
        std::str::from_utf8(&self.0.stderr).unwrap()
    }

    /// The one document on stdout.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        let value: Value = serde_json::from_str(self.stdout()).unwrap_or_else(|_| panic!("no JSON: {}", self.stdout()));
        assert_eq!(value["v"], 1);
        value
    }

    /// The names of the one document's members.
    pub(crate) fn members(&self) -> Vec<String> {
        self.json().as_object().unwrap().keys().cloned().collect()
    }
}

/// Every file below a folder: its bytes and its time.
pub(crate) fn tree(folder: &Path) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                let below = entry.path().strip_prefix(folder).unwrap().to_owned();
                let modified = entry.metadata().unwrap().modified().unwrap();
                files.insert(below, (fs::read(entry.path()).unwrap(), modified));
            }
        }
    }
    files
}

#[track_caller]
pub(crate) fn assert_same(left: &Path, right: &Path) {
    let (left, right) = (tree(left), tree(right));
    assert_eq!(left.keys().collect::<Vec<_>>(), right.keys().collect::<Vec<_>>());
    for (path, (bytes, modified)) in &left {
        assert!(right[path].0 == *bytes, "{} has other bytes", path.display());
        assert_eq!(right[path].1, *modified, "{} has another time", path.display());
    }
}

pub(crate) fn set_modified(path: &Path, ns: u64) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_nanos(ns)).unwrap();
}

pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
