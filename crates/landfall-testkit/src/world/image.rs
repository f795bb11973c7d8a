//! Databases that were made before the world began.
//!
//! To make a schema costs as much as a tenth of a world. Most worlds therefore begin with a journal and a vault that
//! were opened and closed once; in the others the first process makes them, under faults.

use super::*;

/// Files under a folder of a disk.
type Image = Vec<(PathBuf, Vec<u8>)>;

/// An empty database whose pages are small: a transaction of a small world then writes a fourth.
fn empty_database() -> Vec<u8> {
    static EMPTY: OnceLock<Vec<u8>> = OnceLock::new();
    let bytes = EMPTY.get_or_init(|| {
        let mut connection = rusqlite::Connection::open_in_memory().expect("memory can always be opened");
        let sql = "PRAGMA page_size = 1024; CREATE TABLE t (c); DROP TABLE t; VACUUM";
        connection.execute_batch(sql).expect("plain statements in memory succeed");
        connection.serialize("main").expect("an empty database can be had as bytes").to_vec()
    });
    bytes.clone()
}

/// Puts a home's journal on its disk.
pub(crate) fn put_journal(disk: &SimDisk, home: &Path, is_used: bool) {
    static USED: OnceLock<Image> = OnceLock::new();
    let empty = || vec![("journal.db".into(), empty_database())];
    let used = || {
        USED.get_or_init(|| {
            image_of("/home", empty(), async |env, vfs| {
                let settings = Settings { vfs: Some(vfs.name().to_owned()), ..Settings::new("/home") };
                drop(Engine::open(settings, env).await.expect("nothing is in the way of a new journal"));
            })
        })
    };
    if is_used { put(disk, home, used()) } else { put(disk, home, &empty()) }
}

impl World {
    /// Puts a vault's database, and the keys it signs with, on its disk.
    pub(super) fn put_vault(disk: &SimDisk, is_used: bool) {
        static USED: OnceLock<Image> = OnceLock::new();
        let empty = || vec![("server.db".into(), empty_database())];
        let used = || {
            USED.get_or_init(|| {
                image_of(VAULT, empty(), async |env, vfs| {
                    let server = Server::open(Self::server_config(&vfs), env).await;
                    drop(server.expect("nothing is in the way of a new vault"));
                })
            })
        };
        let vault = Path::new(VAULT);
        if is_used { put(disk, vault, used()) } else { put(disk, vault, &empty()) }
    }
}

fn put(disk: &SimDisk, folder: &Path, image: &Image) {
    for (path, bytes) in image {
        disk.put(folder.join(path), bytes).expect("a fresh disk has room");
    }
}

/// What a process leaves in a folder of a quiet disk.
fn image_of(folder: &str, before: Image, process: impl AsyncFnOnce(Env, SimVfs)) -> Image {
    let clock = Arc::new(SimClock::new(1_600_000_000_000));
    let disk = SimDisk::new(Arc::clone(&clock));
    put(&disk, Path::new(folder), &before);
    let (seed, id) = (Seed(0), disk.spawn());
    let env = Env {
        files: disk.process(id),
        clock,
        random: Arc::new(seed.fork("image").random()),
        blocking: Blocking::Inline,
        steps: Steps::default(),
    };
    let vfs = SimVfs::register(&disk, id, seed.fork("image-vfs").random());
    process(env, vfs).now_or_never().expect("alone on a quiet disk, nothing has to be waited for");
    disk.kill(id);
    let files = disk.files().into_iter();
    // Who has it open is said in other folders.
    let files = files.filter_map(|path| Some((path.strip_prefix(folder).ok()?.to_owned(), disk.read(&path).ok()?)));
    files.filter(|(path, bytes)| path.components().count() == 1 && !bytes.is_empty()).collect()
}
