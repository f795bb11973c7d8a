//! Checks a vault at rest against what must always hold. For tests and support; reads only.

use std::{
    collections::BTreeSet,
    fmt::Display,
    io,
    path::{Path, PathBuf},
};

use crc_fast::{CrcAlgorithm, Digest};
use landfall_env::{Env, FileKind};
use rusqlite::{Connection, OpenFlags};
use sha2::{Digest as _, Sha256};

use crate::{
    ServerConfig,
    folder::{Folder, PartName, found},
    instance,
};

/// Everything that is wrong with a vault that nobody uses at the moment, one sentence each; empty if it is as it must be.
///
/// Every row has its files with the right lengths and checksums, every file has its row, no upload is open, every
/// object belongs to a file, removed files left nothing behind, and neither did dead instances. Lanes have no gaps.
pub fn audit(vault: &Path) -> Vec<String> {
    audit_in(&ServerConfig::new(vault), &Env::real())
}

/// [`audit`], of a vault seen through `env` and `config`.
pub fn audit_in(config: &ServerConfig, env: &Env) -> Vec<String> {
    let mut audit = Audit { folder: Folder::new(config.vault.clone()), env, complaints: Vec::new() };
    if let Err(error) = audit.database(config.sqlite_vfs.as_deref()) {
        audit.complain(format_args!("the database cannot be read: {error}"));
    }
    if let Err(error) = audit.leftovers() {
        audit.complain(format_args!("the folder cannot be read: {error}"));
    }
    audit.complaints
}

struct Audit<'a> {
    folder: Folder,
    env: &'a Env,
    complaints: Vec<String>,
}

/// What must yield no row, and what it means if it does. The row's first column is named in the complaint.
const FORBIDDEN: [(&str, &str); 12] = [
    ("SELECT object_key FROM upload WHERE state = 'open'", "an upload is open"),
    ("SELECT object_key FROM upload WHERE state = 'stored' AND file IS NULL", "an object is stored but no file has it"),
    ("SELECT object_key FROM garbage", "an object's files are still to be removed"),
    (
        "SELECT object_key FROM upload JOIN file ON file.id = upload.file
          WHERE file.account <> upload.account OR is_deleted = 1 OR upload.size <>
            CASE object_key WHEN file_key THEN file_size WHEN thumbnail_key THEN thumbnail_size ELSE -1 END",
        "an object is not what its file says",
    ),
    (
        "SELECT id FROM file WHERE is_deleted = 0
          AND 2 <> (SELECT count(*) FROM upload WHERE upload.account = file.account AND upload.file = file.id
                     AND state = 'stored' AND object_key IN (file_key, thumbnail_key))",
        "a file lacks an object",
    ),
    (
        "SELECT object_key FROM upload WHERE state = 'stored'
          AND (part_count, size) IS NOT (SELECT count(*), sum(length) FROM part
                WHERE part.account = upload.account AND part.object_key = upload.object_key)",
        "a stored object lacks a part",
    ),
    (
        "SELECT part.object_key FROM part JOIN upload USING (account, object_key)
          WHERE length <> CASE WHEN number = part_count THEN size - part_size * (part_count - 1) ELSE part_size END
             OR number > part_count",
        "a part has the wrong length",
    ),
    (
        "SELECT file.id FROM file JOIN account ON account.id = file.account
          WHERE file.updation_time > account.updation_time",
        "a file's time is ahead of its account's",
    ),
    (
        "SELECT file.id FROM file JOIN collection ON collection.id = file.collection
          WHERE file.account <> collection.account",
        "a file is in another account's collection",
    ),
    ("SELECT asset_key FROM asset_garbage", "an attachment's files are still to be removed"),
    ("SELECT lane FROM message GROUP BY lane HAVING max(number) <> count(*)", "a lane has a gap"),
    (
        "SELECT account FROM message_usage
          WHERE bytes IS NOT (SELECT sum(length(body) + 256) FROM message WHERE message.account = message_usage.account)",
        "an account's messages were not added up",
    ),
];

impl Audit<'_> {
    fn complain(&mut self, complaint: impl Display) {
        self.complaints.push(complaint.to_string());
    }

    fn database(&mut self, vfs: Option<&str>) -> rusqlite::Result<()> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = match vfs {
            Some(vfs) => Connection::open_with_flags_and_vfs(self.folder.database(), flags, vfs)?,
            None => Connection::open_with_flags(self.folder.database(), flags)?,
        };
        for problem in texts(&connection, "PRAGMA integrity_check")?.into_iter().filter(|text| text != "ok") {
            self.complain(format_args!("the database is damaged: {problem}"));
        }
        for table in texts(&connection, "PRAGMA foreign_key_check")? {
            self.complain(format_args!("a row of {table} names a row that is not there"));
        }
        for (query, meaning) in FORBIDDEN {
            for name in texts(&connection, query)? {
                self.complain(format_args!("{meaning}: {name}"));
            }
        }
        self.parts(&connection)?;
        self.assets(&connection)
    }

    /// Part rows against part files, both ways.
    fn parts(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mut noted = BTreeSet::new();
        let mut statement = connection.prepare("SELECT account, object_key, number, length, crc32c FROM part")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let part = PartName { account: row.get(0)?, object_key: row.get(1)?, number: row.get(2)? };
            let expected = (row.get::<_, i64>(3)?.cast_unsigned(), row.get::<_, u32>(4)?);
            let path = self.folder.part(&part);
            match self.checksum(&path) {
                Ok(actual) if actual == expected => {}
                Ok((length, crc32c)) => self.complain(format_args!(
                    "{path:?} has {length} bytes and CRC32C {crc32c:08x}, its row says {} and {:08x}",
                    expected.0, expected.1
                )),
                Err(error) => self.complain(format_args!("{path:?} has a row but cannot be read: {error}")),
            }
            noted.insert(path);
        }
        self.strays(&self.folder.blobs(), &noted);
        Ok(())
    }

    /// Rows of attachments against their files, both ways.
    fn assets(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mut noted = BTreeSet::new();
        let mut statement =
            connection.prepare("SELECT asset_key, writes, size, sha256 FROM asset WHERE state = 'stored'")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let path = self.folder.asset(&row.get::<_, String>(0)?).join(row.get::<_, u32>(1)?.to_string());
            let expected = (row.get::<_, i64>(2)?.cast_unsigned(), row.get::<_, [u8; 32]>(3)?);
            let mut sha256 = Sha256::new();
            match self.read(&path, |bytes| sha256.update(bytes)) {
                Ok(length) if (length, sha256.finalize().into()) == expected => {}
                Ok(_) => self.complain(format_args!("{path:?} is not what its row says")),
                Err(error) => self.complain(format_args!("{path:?} has a row but cannot be read: {error}")),
            }
            noted.insert(path);
        }
        self.strays(&self.folder.assets(), &noted);
        Ok(())
    }

    /// Files that no row names.
    fn strays(&mut self, folder: &Path, noted: &BTreeSet<PathBuf>) {
        match self.files_below(folder) {
            Ok(files) => {
                for path in files.into_iter().filter(|path| !noted.contains(path)) {
                    self.complain(format_args!("{path:?} has no row"));
                }
            }
            Err(error) => self.complain(format_args!("the contents cannot be listed: {error}")),
        }
    }

    fn leftovers(&mut self) -> io::Result<()> {
        let files = self.env.files.as_ref();
        if found(files.status(&self.folder.signing_key()))?.is_none_or(|status| status.len != 32) {
            self.complain("the signing key is missing or damaged");
        }
        for entry in found(files.list(&self.folder.incoming()))?.unwrap_or_default() {
            let left = self.files_below(&self.folder.incoming().join(&entry.name))?;
            let name = entry.name.to_string_lossy();
            if !left.is_empty() && !instance::is_alive(&self.folder, files, &name)? {
                self.complain(format_args!("the dead instance {name} left {} incoming files", left.len()));
            }
        }
        Ok(())
    }

    fn files_below(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let mut below = Vec::new();
        for entry in found(self.env.files.list(path))?.unwrap_or_default() {
            let entry_path = path.join(&entry.name);
            if entry.kind == FileKind::Dir {
                below.extend(self.files_below(&entry_path)?);
            } else {
                below.push(entry_path);
            }
        }
        Ok(below)
    }

    fn checksum(&self, path: &Path) -> io::Result<(u64, u32)> {
        let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
        let length = self.read(path, |bytes| digest.update(bytes))?;
        Ok((length, u32::try_from(digest.finalize()).expect("a CRC32C has 32 bits")))
    }

    /// Has `take` see all bytes of a file. Returns how many there are.
    fn read(&self, path: &Path, mut take: impl FnMut(&[u8])) -> io::Result<u64> {
        let mut file = self.env.files.open(path)?;
        let len = file.status()?.len;
        let mut buffer = vec![0; usize::try_from(len.clamp(1, 256 << 10)).expect("256 KiB fit in memory")];
        let mut length = 0;
        loop {
            let count = file.read_at(length, &mut buffer)?;
            if count == 0 {
                return Ok(length);
            }
            take(&buffer[..count]);
            length += count as u64;
        }
    }
}

/// The first column of every row, as text.
fn texts(connection: &Connection, query: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(query)?;
    let rows = statement.query_map([], |row| {
        Ok(match row.get_ref(0)? {
            rusqlite::types::ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
            rusqlite::types::ValueRef::Integer(number) => number.to_string(),
            _ => String::new(),
        })
    })?;
    rows.collect()
}
