//! The fixture: a vault in a temporary folder, servers over it, and a client that speaks to a router.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Method, Request, StatusCode},
};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use landfall_env::{Blocking, Clock, DirEntry, Env, File, FileLock, FileStatus, Files, RealFiles, Steps, SystemRandom};
use landfall_protocol::{
    Base64, Collection, CompletePart, CompleteUpload, ErrorCode, FileRecord, Grant, KeyAttributes, LanePage,
    MagicMetadata, NewCollection, NewFile, NewMessage, NewUpload, PartChecksum, PresignedUpload, Problem,
    SealedMetadata, SealedObject, SignRequest, SignedParts, UploadStatus, route,
};
use landfall_server::{Server, ServerConfig};
use serde::{Serialize, de::DeserializeOwned};
use tower::ServiceExt as _;

pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) disk: Arc<Disk>,
    pub(crate) blocking: Blocking,
    pub(crate) steps: Steps,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            clock: Arc::new(TestClock { ms: AtomicI64::new(1_700_000_000_000) }),
            disk: Arc::default(),
            blocking: Blocking::Inline,
            steps: Steps::default(),
        }
    }

    /// As in production: blocking work on threads.
    pub(crate) fn threaded() -> Self {
        Self { blocking: Blocking::Threads, ..Self::new() }
    }

    pub(crate) fn vault(&self) -> PathBuf {
        self.folder.path().join("vault")
    }

    pub(crate) fn env(&self) -> Env {
        Env {
            files: Arc::clone(&self.disk) as Arc<dyn Files>,
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            random: Arc::new(SystemRandom),
            blocking: self.blocking,
            steps: self.steps.clone(),
        }
    }

    /// Another process over the same folder.
    pub(crate) async fn open(&self) -> Server {
        self.open_with(|_| {}).await
    }

    pub(crate) async fn open_with(&self, change: impl FnOnce(&mut ServerConfig)) -> Server {
        let mut config = ServerConfig::new(self.vault());
        change(&mut config);
        Server::open(config, self.env()).await.unwrap()
    }

    pub(crate) async fn client(&self) -> Client {
        Client::embedded(&self.open().await).await
    }

    pub(crate) fn files(&self, below: &str) -> Vec<PathBuf> {
        files_below(&self.vault().join(below))
    }

    pub(crate) fn audit(&self) -> Vec<String> {
        landfall_server::audit(&self.vault())
    }
}

pub(crate) fn files_below(path: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

/// A clock that stands still until it is moved.
pub(crate) struct TestClock {
    ms: AtomicI64,
}

impl TestClock {
    pub(crate) fn advance(&self, by: Duration) {
        self.ms.fetch_add(by.as_millis() as i64, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn wall_ms(&self) -> i64 {
        self.ms.load(Ordering::SeqCst)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.wall_ms() as u64)
    }
}

/// Told of a file that was opened, or is about to be.
pub(crate) type OnOpen = Box<dyn FnMut(&Path) + Send>;

/// The real disk, which can be told that it is full.
#[derive(Default)]
pub(crate) struct Disk {
    pub(crate) full_for_bytes: AtomicBool,
    pub(crate) full_for_names: AtomicBool,
    /// Counts the operations that change something down; the one that reaches zero fails.
    pub(crate) until_failure: AtomicI64,
    pub(crate) on_open: Mutex<Option<OnOpen>>,
    /// Told once.
    pub(crate) before_open: Mutex<Option<OnOpen>>,
}

impl Disk {
    fn change(&self) -> io::Result<()> {
        if self.until_failure.fetch_sub(1, Ordering::SeqCst) == 1 {
            Err(io::Error::other("bad sector"))
        } else {
            Ok(())
        }
    }

    fn refuse_if(&self, flag: &AtomicBool) -> io::Result<()> {
        if flag.load(Ordering::SeqCst) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl Files for Disk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let before_open = self.before_open.lock().unwrap().take();
        if let Some(mut before_open) = before_open {
            before_open(path);
        }
        let file = RealFiles.open(path)?;
        if let Some(on_open) = &mut *self.on_open.lock().unwrap() {
            on_open(path);
        }
        Ok(file)
    }
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.change()?;
        let file = RealFiles.create_new(path)?;
        Ok(Box::new(DiskFile { file, is_full: self.full_for_bytes.load(Ordering::SeqCst) }))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.refuse_if(&self.full_for_names)?;
        self.change()?;
        RealFiles.rename(from, to)
    }
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealFiles.hard_link(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.change()?;
        RealFiles.remove_file(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.change()?;
        RealFiles.remove_dir(path)
    }
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.change()?;
        RealFiles.create_dir_all(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.change()?;
        RealFiles.sync_dir(path)
    }
    fn status(&self, path: &Path) -> io::Result<FileStatus> {
        RealFiles.status(path)
    }
    fn link_status(&self, path: &Path) -> io::Result<FileStatus> {
        RealFiles.link_status(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        RealFiles.list(path)
    }
    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn FileLock>>> {
        RealFiles.try_lock(path)
    }
    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        RealFiles.free_bytes(path)
    }
}

struct DiskFile {
    file: Box<dyn File>,
    is_full: bool,
}

impl File for DiskFile {
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, buffer)
    }
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.is_full { Err(io::ErrorKind::StorageFull.into()) } else { self.file.append(bytes) }
    }
    fn set_modified(&mut self, modified_ns: i128) -> io::Result<()> {
        self.file.set_modified(modified_ns)
    }
    fn sync(&mut self) -> io::Result<()> {
        self.file.sync()
    }
    fn status(&self) -> io::Result<FileStatus> {
        self.file.status()
    }
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// The JSON of a success.
    #[track_caller]
    pub(crate) fn json<T: DeserializeOwned>(&self) -> T {
        assert!(matches!(self.status, StatusCode::OK | StatusCode::CREATED), "{}", self.text());
        serde_json::from_slice(&self.body).unwrap()
    }

    #[track_caller]
    pub(crate) fn problem(&self) -> Problem {
        assert_eq!(self.header("content-type"), "application/problem+json", "{}", self.text());
        let problem: Problem = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(problem.status, self.status.as_u16());
        problem
    }

    #[track_caller]
    pub(crate) fn refused(&self, status: u16, code: ErrorCode) -> Problem {
        assert_eq!(self.status, status, "{}", self.text());
        let problem = self.problem();
        assert_eq!(problem.code, code, "{}", problem.detail);
        problem
    }

    /// Refused in S3's manner.
    #[track_caller]
    pub(crate) fn refused_xml(&self, status: u16, word: &str) {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), "application/xml");
        assert!(self.text().contains(&format!("<Error><Code>{word}</Code>")), "{}", self.text());
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A client of one router, with one account's token.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) router: Router,
    pub(crate) token: String,
}

impl Client {
    pub(crate) async fn embedded(server: &Server) -> Self {
        Self::with_token(server, server.embedded_token(None).await.unwrap().as_str())
    }

    pub(crate) fn with_token(server: &Server, token: &str) -> Self {
        Self { router: server.router(), token: token.to_owned() }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        Answer { status: parts.status, headers: parts.headers, body: body.collect().await.unwrap().to_bytes() }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.bare(Method::GET, path).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.bare(Method::DELETE, path).await
    }

    async fn bare(&self, method: Method, path: &str) -> Answer {
        let request = Request::builder().method(method).uri(path).header(route::TOKEN_HEADER, &self.token);
        self.send(request.body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &impl Serialize) -> Answer {
        self.json(Method::POST, path, body, &[]).await
    }

    pub(crate) async fn json(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header(route::TOKEN_HEADER, &self.token);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::from(serde_json::to_vec(body).unwrap())).unwrap()).await
    }

    /// Opens an upload and has its parts signed.
    pub(crate) async fn open(&self, key: &str, content: &[u8], part_size: usize) -> UploadStatus {
        self.post(route::UPLOADS, &new_upload(key, content, part_size)).await.json()
    }

    pub(crate) async fn sign(&self, key: &str, part: PartChecksum) -> Grant {
        let answer = self.post(&route::sign(key), &SignRequest { parts: vec![part] }).await;
        answer.json::<SignedParts>().grants.remove(0)
    }

    pub(crate) async fn put(&self, grant: &Grant, body: impl Into<Bytes>) -> Answer {
        let body = body.into();
        self.send(put_request(grant, body.len(), Body::from(body))).await
    }

    /// Uploads a whole object.
    pub(crate) async fn upload(&self, key: &str, content: &[u8], part_size: usize) -> UploadStatus {
        let status = self.open(key, content, part_size).await;
        for grant in &status.grants {
            let start = (grant.number as usize - 1) * part_size;
            let end = content.len().min(start + part_size);
            let answer = self.put(grant, content[start..end].to_vec()).await;
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        }
        if content.len() <= part_size {
            return self.get(&route::upload(key)).await.json();
        }
        self.post(&route::complete(key), &completion(content, part_size)).await.json()
    }

    /// Leave to put an attachment of any length.
    pub(crate) async fn presign(&self) -> PresignedUpload {
        self.get(&route::presigned("image/jpeg", "a b.jpg", None)).await.json()
    }

    pub(crate) async fn put_asset(&self, grant: &PresignedUpload, body: impl Into<Bytes>) -> Answer {
        let body = body.into();
        self.send(asset_request(grant, body.len(), Body::from(body))).await
    }

    /// Reads an attachment, as whoever was given its URL does.
    pub(crate) async fn asset(&self, grant: &PresignedUpload) -> Answer {
        self.send(Request::get(&grant.asset_url).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn append(&self, lane: &str, idempotency_key: &str, body: &[u8]) -> Answer {
        self.post(&route::messages(lane), &new_message(idempotency_key, body)).await
    }

    pub(crate) async fn lane(&self, lane: &str) -> LanePage {
        self.get(&route::messages(lane)).await.json()
    }

    pub(crate) async fn collection(&self) -> Collection {
        self.post(route::COLLECTIONS, &new_collection(b"tag")).await.json()
    }

    /// Uploads and registers a file with the given content.
    pub(crate) async fn add_file(&self, content: &[u8], tag: Option<u8>) -> FileRecord {
        let body = self.file_body(content, tag).await;
        self.post(route::FILES, &body).await.json()
    }

    /// Uploads a file's objects. The result is what registers it.
    pub(crate) async fn file_body(&self, content: &[u8], tag: Option<u8>) -> NewFile {
        let collection = self.collection().await.id;
        let (file, thumbnail) = (key(), key());
        self.upload(&file, content, 4096).await;
        self.upload(&thumbnail, b"thumbnail", 4096).await;
        new_file(collection, (&file, content.len()), (&thumbnail, 9), tag)
    }
}

pub(crate) fn put_request(grant: &Grant, length: usize, body: Body) -> Request<Body> {
    let mut request = Request::put(&grant.url).header("content-length", length);
    for (name, value) in &grant.headers {
        request = request.header(name, value);
    }
    request.body(body).unwrap()
}

pub(crate) fn asset_request(grant: &PresignedUpload, length: usize, body: Body) -> Request<Body> {
    let mut request = Request::builder().method(grant.method.as_str()).uri(&grant.upload_url);
    for (name, value) in &grant.headers {
        request = request.header(name, value);
    }
    request.header("content-length", length).body(body).unwrap()
}

pub(crate) fn new_message(idempotency_key: &str, body: &[u8]) -> NewMessage {
    NewMessage { idempotency_key: idempotency_key.to_owned(), body: Base64(body.to_vec()) }
}

/// A fresh object key.
pub(crate) fn key() -> String {
    let random: Arc<dyn landfall_env::Random> = Arc::new(SystemRandom);
    random.name()
}

/// Content that differs at every place.
pub(crate) fn content(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index.wrapping_mul(2_654_435_761) >> 11) as u8).collect()
}

pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

pub(crate) fn checksum(number: u32, bytes: &[u8]) -> PartChecksum {
    PartChecksum { number, length: bytes.len() as u64, crc32c: crc32c(bytes) }
}

pub(crate) fn new_upload(key: &str, content: &[u8], part_size: usize) -> NewUpload {
    let sign = content.chunks(part_size).zip(1..).map(|(part, number)| checksum(number, part)).collect();
    NewUpload { object_key: key.to_owned(), size: content.len() as u64, part_size: part_size as u64, sign }
}

pub(crate) fn completion(content: &[u8], part_size: usize) -> CompleteUpload {
    let part = |(number, part)| CompletePart { number, crc32c: crc32c(part) };
    CompleteUpload { parts: (1..).zip(content.chunks(part_size)).map(part).collect() }
}

pub(crate) fn new_collection(tag: &[u8]) -> NewCollection {
    NewCollection {
        encrypted_key: Base64(vec![1; 48]),
        key_decryption_nonce: Base64(vec![2; 24]),
        encrypted_name: Base64(vec![3; 20]),
        name_decryption_nonce: Base64(vec![4; 24]),
        kind: "album".into(),
        name_tag: Some(Base64(tag.to_vec())),
    }
}

pub(crate) fn magic(version: u32, count: u32, data: &[u8]) -> MagicMetadata {
    MagicMetadata { version, count, data: Base64(data.to_vec()), header: Base64(vec![9; 24]) }
}

pub(crate) fn new_file(collection: i64, file: (&str, usize), thumbnail: (&str, usize), tag: Option<u8>) -> NewFile {
    let object = |(key, size): (&str, usize)| SealedObject {
        object_key: key.to_owned(),
        decryption_header: Base64(vec![5; 24]),
        size: size as u64,
    };
    NewFile {
        collection_id: collection,
        encrypted_key: Base64(vec![6; 48]),
        key_decryption_nonce: Base64(vec![7; 24]),
        file: object(file),
        thumbnail: object(thumbnail),
        metadata: SealedMetadata { encrypted_data: Base64(vec![8; 100]), decryption_header: Base64(vec![9; 24]) },
        pub_magic_metadata: None,
        magic_metadata: Some(magic(1, 3, b"places")),
        content_tag: tag.map(|tag| Base64(vec![tag; 32])),
    }
}

pub(crate) fn keys() -> KeyAttributes {
    KeyAttributes {
        kek_salt: Base64(vec![1; 16]),
        mem_limit: 64 << 20,
        ops_limit: 3,
        encrypted_key: Base64(vec![2; 48]),
        key_decryption_nonce: Base64(vec![3; 24]),
        master_key_encrypted_with_recovery_key: Base64(vec![4; 48]),
        master_key_decryption_nonce: Base64(vec![5; 24]),
        recovery_key_encrypted_with_master_key: Base64(vec![6; 48]),
        recovery_key_decryption_nonce: Base64(vec![7; 24]),
        version: 0,
    }
}
