//! SQLite on a simulated disk.
//!
//! What SQLite asks of the operating system is answered as its own `os_unix.c` would, down to when the folder of a new
//! journal is synced; only that a [`SimDisk`] stands behind it. Connections of several simulated processes share the
//! memory of a write-ahead log and its locks, all in one real process and usually on one thread. Sleeping takes no time,
//! so a connection that waits for a lock gives up at once.
#![expect(unsafe_code, reason = "SQLite calls its file system through a table of C functions")]

use std::{
    ffi::{CStr, CString, OsStr, c_char, c_int, c_void},
    io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    ptr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use landfall_env::{Clock as _, FileKind, FileStatus, Random as _};
use rusqlite::ffi;

use crate::{
    SeededRandom, SimDisk,
    disk::{LockLevel, Op, OpenId, ProcessId, Shape},
};

/// A process's way to SQLite files on a [`SimDisk`]: a file system registered with SQLite under a name of its own.
///
/// Dropping it takes the name away. Connections opened through it go on working, or failing if the process is dead, until
/// they are dropped too.
pub struct SimVfs {
    name: String,
    vfs: Arc<Registered>,
}

impl SimVfs {
    /// Registers the file system of a process. `random` feeds what SQLite draws from it.
    pub fn register(disk: &Arc<SimDisk>, process: ProcessId, random: SeededRandom) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("landfall-sim-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let c_name = CString::new(name.as_str()).expect("a name of letters and digits holds no NUL");
        let vfs = Arc::new_cyclic(|this: &std::sync::Weak<Registered>| {
            let table =
                ffi::sqlite3_vfs { zName: c_name.as_ptr(), pAppData: this.as_ptr().cast_mut().cast(), ..template() };
            Registered { table: Box::into_raw(Box::new(table)), _name: c_name, disk: Arc::clone(disk), process, random }
        });
        // SAFETY: the table and its name stay where they are until `Registered` is dropped, which this value and every
        // open file prevent; this value unregisters the table before it lets go.
        let result = unsafe { ffi::sqlite3_vfs_register(vfs.table, 0) };
        assert_eq!(result, ffi::SQLITE_OK, "SQLite refuses a file system only when it cannot start at all");
        Self { name, vfs }
    }

    /// The name to open connections with.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for SimVfs {
    fn drop(&mut self) {
        // SAFETY: the table was registered by `register` and is still allocated.
        unsafe { ffi::sqlite3_vfs_unregister(self.vfs.table) };
    }
}

impl std::fmt::Debug for SimVfs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimVfs").field("name", &self.name).field("process", &self.vfs.process).finish_non_exhaustive()
    }
}

/// What stands behind `sqlite3_vfs.pAppData`.
struct Registered {
    table: *mut ffi::sqlite3_vfs,
    _name: CString,
    disk: Arc<SimDisk>,
    process: ProcessId,
    random: SeededRandom,
}

// SAFETY: the table is written by SQLite alone, under its own mutex (it links the tables of all file systems), and by
// nobody here after it was built; the other fields are `Send` and `Sync` themselves.
unsafe impl Send for Registered {}
// SAFETY: as above.
unsafe impl Sync for Registered {}

impl Drop for Registered {
    fn drop(&mut self) {
        // SAFETY: made by `Box::into_raw` in `register`, unregistered by `SimVfs::drop`, and no file uses it any more.
        drop(unsafe { Box::from_raw(self.table) });
    }
}

impl Registered {
    fn delete(&self, path: &Path, sync_dir: bool) -> io::Result<()> {
        let mut state = self.disk.state();
        state.enter(self.process, Op::RemoveFile)?;
        state.remove_file(path, self.disk.clock().wall_ns())?;
        if sync_dir && !state.skip_database_sync {
            state.enter(self.process, Op::SyncDir)?;
            state.sync_dir(parent(path))?;
        }
        Ok(())
    }
}

/// The memory that all connections to a database share: the index of its write-ahead log.
#[derive(Default)]
pub(crate) struct SharedMemory {
    regions: Mutex<Vec<Region>>,
}

/// Zeroed memory, aligned for anything SQLite puts there.
struct Region {
    words: *mut u64,
    count: usize,
}

// SAFETY: a region is plain memory; SQLite orders the accesses of its connections by locks and barriers, as it does
// between processes.
unsafe impl Send for Region {}

impl SharedMemory {
    /// A region, if it exists or may be added. It stays in place until the memory is dropped.
    fn region(&self, index: usize, len: usize, extend: bool) -> Option<*mut c_void> {
        let mut regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        while regions.len() <= index && extend {
            let words = Box::leak(vec![0_u64; len.div_ceil(8)].into_boxed_slice());
            regions.push(Region { words: words.as_mut_ptr(), count: words.len() });
        }
        regions.get(index).map(|region| region.words.cast())
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: leaked as a boxed slice of this length by `SharedMemory::region`; each connection that was given a
        // pointer into it holds the `SharedMemory` until it unmaps or closes.
        drop(unsafe { Box::from_raw(ptr::slice_from_raw_parts_mut(self.words, self.count)) });
    }
}

/// What SQLite allocates for an open file.
#[repr(C)]
struct RawFile {
    base: ffi::sqlite3_file,
    /// Null when nothing is open.
    handle: *mut Handle,
}

struct Handle {
    vfs: Arc<Registered>,
    id: OpenId,
    path: Option<PathBuf>,
    /// A new journal's folder is synced with the journal's first sync.
    sync_dir: bool,
    memory: Option<Arc<SharedMemory>>,
}

impl Handle {
    fn read(&self, buffer: &mut [u8], offset: u64) -> c_int {
        match self.vfs.disk.state().read(self.id, offset, buffer) {
            Ok(count) if count == buffer.len() => ffi::SQLITE_OK,
            Ok(count) => {
                buffer[count..].fill(0);
                ffi::SQLITE_IOERR_SHORT_READ
            }
            Err(_) => ffi::SQLITE_IOERR_READ,
        }
    }

    fn write(&self, bytes: &[u8], offset: u64) -> c_int {
        let disk = &self.vfs.disk;
        match disk.state().write(self.id, offset, bytes, disk.clock().wall_ns()) {
            Ok(()) => ffi::SQLITE_OK,
            Err(error) if error.kind() == io::ErrorKind::StorageFull => ffi::SQLITE_FULL,
            Err(_) => ffi::SQLITE_IOERR_WRITE,
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.vfs.disk.state();
        if state.skip_database_sync {
            return state.enter(self.vfs.process, Op::Sync);
        }
        state.sync(self.id)?;
        if let (true, Some(path)) = (self.sync_dir, &self.path) {
            state.enter(self.vfs.process, Op::SyncDir)?;
            // Like SQLite, which knows systems whose folders cannot be synced.
            let _ = state.sync_dir(parent(path));
            self.sync_dir = false;
        }
        Ok(())
    }

    fn map(&mut self, index: usize, len: usize, extend: bool) -> io::Result<*mut c_void> {
        let memory = match &self.memory {
            Some(memory) => memory,
            None => self.memory.insert(self.vfs.disk.state().map_memory(self.id)?),
        };
        self.vfs.disk.state().enter(self.vfs.process, Op::Lock)?;
        Ok(memory.region(index, len, extend).unwrap_or(ptr::null_mut()))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.vfs.disk.state().close(self.id);
    }
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

fn template() -> ffi::sqlite3_vfs {
    ffi::sqlite3_vfs {
        iVersion: 2,
        szOsFile: size_of::<RawFile>() as c_int,
        mxPathname: 1_024,
        pNext: ptr::null_mut(),
        zName: ptr::null(),
        pAppData: ptr::null_mut(),
        xOpen: Some(open),
        xDelete: Some(delete),
        xAccess: Some(access),
        xFullPathname: Some(full_pathname),
        xDlOpen: None,
        xDlError: None,
        xDlSym: None,
        xDlClose: None,
        xRandomness: Some(randomness),
        xSleep: Some(sleep),
        xCurrentTime: Some(current_time),
        xGetLastError: Some(last_error),
        xCurrentTimeInt64: Some(current_time_ms),
        xSetSystemCall: None,
        xGetSystemCall: None,
        xNextSystemCall: None,
    }
}

/// SAFETY: `vfs` must be a table made by [`SimVfs::register`] that is registered or has a file open, which keeps what it
/// points to.
unsafe fn registered<'a>(vfs: *mut ffi::sqlite3_vfs) -> &'a Registered {
    // SAFETY: promised by the caller; `pAppData` is the address of the `Registered` in its `Arc`.
    unsafe { &*(*vfs).pAppData.cast::<Registered>() }
}

/// SAFETY: `file` must have been opened by [`open`] and not closed, and SQLite must not use it twice at once, which its
/// connection's mutex sees to.
unsafe fn handle<'a>(file: *mut ffi::sqlite3_file) -> &'a mut Handle {
    // SAFETY: promised by the caller; SQLite calls methods only of files that `open` gave methods to.
    unsafe { &mut *(*file.cast::<RawFile>()).handle }
}

/// SAFETY: `name` must be a C string that outlives the result.
unsafe fn path<'a>(name: *const c_char) -> &'a Path {
    // SAFETY: promised by the caller.
    Path::new(OsStr::from_bytes(unsafe { CStr::from_ptr(name) }.to_bytes()))
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

fn code(result: io::Result<()>, error: c_int) -> c_int {
    match result {
        Ok(()) => ffi::SQLITE_OK,
        Err(_) => error,
    }
}

// SAFETY of all functions below: SQLite calls them with the tables and files they were registered for, with pointers to
// buffers of the lengths it says and to results it has room for.

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: see above. SQLite closes a file whose `pMethods` is set even when opening it failed, so that comes last.
    unsafe {
        (*file).pMethods = ptr::null();
        // The file keeps what it was opened through. `pAppData` is the address of a living `Registered` in its `Arc`.
        let registered = (*vfs).pAppData.cast::<Registered>().cast_const();
        Arc::increment_strong_count(registered);
        let vfs = Arc::from_raw(registered);
        let path = (!name.is_null()).then(|| path(name));
        let (shape, journal) = match flags & 0x0f_ff00 {
            ffi::SQLITE_OPEN_WAL => (Shape::Wal, true),
            ffi::SQLITE_OPEN_MAIN_JOURNAL | ffi::SQLITE_OPEN_SUPER_JOURNAL => (Shape::Journal, true),
            ffi::SQLITE_OPEN_SUBJOURNAL | ffi::SQLITE_OPEN_TEMP_JOURNAL => (Shape::Journal, false),
            _ => (Shape::Plain, false),
        };
        let create = flags & ffi::SQLITE_OPEN_CREATE != 0;
        let now_ns = vfs.disk.clock().wall_ns();
        let opened = vfs.disk.state().open_database(vfs.process, path, shape, create, now_ns);
        let Ok(id) = opened else { return ffi::SQLITE_CANTOPEN };
        let path = path.map(Path::to_owned);
        let handle = Handle { vfs, id, path, sync_dir: journal && create, memory: None };
        if let (Some(path), true) = (&handle.path, flags & ffi::SQLITE_OPEN_DELETEONCLOSE != 0) {
            let _ = handle.vfs.delete(path, false);
        }
        if !out_flags.is_null() {
            *out_flags = flags;
        }
        (*file.cast::<RawFile>()).handle = Box::into_raw(Box::new(handle));
        (*file).pMethods = &raw const METHODS;
        ffi::SQLITE_OK
    }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: see above; the handle was made by `Box::into_raw` in `open`, and SQLite closes a file once.
    unsafe {
        drop(Box::from_raw((*file.cast::<RawFile>()).handle));
        (*file.cast::<RawFile>()).handle = ptr::null_mut();
        (*file).pMethods = ptr::null();
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn read(file: *mut ffi::sqlite3_file, buffer: *mut c_void, count: c_int, offset: i64) -> c_int {
    // SAFETY: see above; SQLite does not read the buffer meanwhile, and any bytes are a valid `[u8]`.
    unsafe { handle(file).read(std::slice::from_raw_parts_mut(buffer.cast(), count as usize), offset as u64) }
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, bytes: *const c_void, count: c_int, offset: i64) -> c_int {
    // SAFETY: see above.
    unsafe { handle(file).write(std::slice::from_raw_parts(bytes.cast(), count as usize), offset as u64) }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, len: i64) -> c_int {
    // SAFETY: see above.
    let handle = unsafe { handle(file) };
    let disk = &handle.vfs.disk;
    code(disk.state().set_len(handle.id, len as u64, disk.clock().wall_ns()), ffi::SQLITE_IOERR_TRUNCATE)
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    // SAFETY: see above.
    code(unsafe { handle(file) }.sync(), ffi::SQLITE_IOERR_FSYNC)
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, len: *mut i64) -> c_int {
    // SAFETY: see above.
    let handle = unsafe { handle(file) };
    match handle.vfs.disk.state().len(handle.id) {
        Ok(found) => {
            // SAFETY: see above.
            unsafe { *len = found as i64 };
            ffi::SQLITE_OK
        }
        Err(_) => ffi::SQLITE_IOERR_FSTAT,
    }
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: see above.
    let handle = unsafe { handle(file) };
    granted(handle.vfs.disk.state().lock(handle.id, lock_level(level)), ffi::SQLITE_IOERR_LOCK)
}

/// A dead process's locks are gone already, and SQLite could do nothing about a failure.
unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: see above.
    let handle = unsafe { handle(file) };
    handle.vfs.disk.state().unlock(handle.id, lock_level(level));
    ffi::SQLITE_OK
}

unsafe extern "C" fn check_reserved_lock(file: *mut ffi::sqlite3_file, reserved: *mut c_int) -> c_int {
    // SAFETY: see above.
    let handle = unsafe { handle(file) };
    match handle.vfs.disk.state().is_reserved(handle.id) {
        Ok(found) => {
            // SAFETY: see above.
            unsafe { *reserved = c_int::from(found) };
            ffi::SQLITE_OK
        }
        Err(_) => ffi::SQLITE_IOERR_CHECKRESERVEDLOCK,
    }
}

unsafe extern "C" fn file_control(_: *mut ffi::sqlite3_file, _: c_int, _: *mut c_void) -> c_int {
    ffi::SQLITE_NOTFOUND
}

unsafe extern "C" fn sector_size(_: *mut ffi::sqlite3_file) -> c_int {
    4_096
}

/// What `os_unix.c` claims: a write changes no byte beside it.
unsafe extern "C" fn device_characteristics(_: *mut ffi::sqlite3_file) -> c_int {
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    index: c_int,
    len: c_int,
    extend: c_int,
    memory: *mut *mut c_void,
) -> c_int {
    // SAFETY: see above.
    let mapped = unsafe { handle(file) }.map(index as usize, len as usize, extend != 0);
    // SAFETY: see above.
    unsafe { *memory = *mapped.as_ref().unwrap_or(&ptr::null_mut()) };
    code(mapped.map(|_| ()), ffi::SQLITE_IOERR_SHMMAP)
}

unsafe extern "C" fn shm_lock(file: *mut ffi::sqlite3_file, first: c_int, count: c_int, flags: c_int) -> c_int {
    // SAFETY: see above.
    let handle = unsafe { handle(file) };
    // SQLite has eight of these locks.
    let mask = (((1_u16 << count) - 1) << first) as u8;
    let mut state = handle.vfs.disk.state();
    if flags & ffi::SQLITE_SHM_UNLOCK != 0 {
        state.unlock_memory(handle.id, mask);
        return ffi::SQLITE_OK;
    }
    granted(state.lock_memory(handle.id, mask, flags & ffi::SQLITE_SHM_EXCLUSIVE != 0), ffi::SQLITE_IOERR_SHMLOCK)
}

unsafe extern "C" fn shm_barrier(_: *mut ffi::sqlite3_file) {
    std::sync::atomic::fence(Ordering::SeqCst);
}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    // SAFETY: see above.
    let handle = unsafe { handle(file) };
    handle.vfs.disk.state().unmap_memory(handle.id);
    handle.memory = None;
    ffi::SQLITE_OK
}

unsafe extern "C" fn delete(vfs: *mut ffi::sqlite3_vfs, name: *const c_char, sync_dir: c_int) -> c_int {
    // SAFETY: see above.
    match unsafe { registered(vfs).delete(path(name), sync_dir & 1 != 0) } {
        Ok(()) => ffi::SQLITE_OK,
        Err(error) if error.kind() == io::ErrorKind::NotFound => ffi::SQLITE_IOERR_DELETE_NOENT,
        Err(_) => ffi::SQLITE_IOERR_DELETE,
    }
}

unsafe extern "C" fn access(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    flags: c_int,
    accessible: *mut c_int,
) -> c_int {
    // SAFETY: see above.
    let (registered, path) = unsafe { (registered(vfs), path(name)) };
    let mut state = registered.disk.state();
    if state.enter(registered.process, Op::Status).is_err() {
        return ffi::SQLITE_IOERR_ACCESS;
    }
    let found = state.status(path);
    // To SQLite an empty file does not exist: an empty journal is none.
    let exists = |status: FileStatus| status.kind != FileKind::File || status.len > 0;
    let accessible_now = found.is_ok_and(|status| flags != ffi::SQLITE_ACCESS_EXISTS || exists(status));
    // SAFETY: see above.
    unsafe { *accessible = c_int::from(accessible_now) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn full_pathname(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    capacity: c_int,
    full: *mut c_char,
) -> c_int {
    // SAFETY: see above.
    let name = unsafe { CStr::from_ptr(name) }.to_bytes_with_nul();
    let prefix: &[u8] = if name.starts_with(b"/") { b"" } else { b"/" };
    if prefix.len() + name.len() > capacity as usize {
        return ffi::SQLITE_CANTOPEN;
    }
    // SAFETY: see above; both parts fit, and the two strings are not one.
    unsafe {
        ptr::copy_nonoverlapping(prefix.as_ptr().cast(), full, prefix.len());
        ptr::copy_nonoverlapping(name.as_ptr().cast(), full.add(prefix.len()), name.len());
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn randomness(vfs: *mut ffi::sqlite3_vfs, count: c_int, bytes: *mut c_char) -> c_int {
    // SAFETY: see above.
    unsafe { registered(vfs).random.fill(std::slice::from_raw_parts_mut(bytes.cast(), count as usize)) };
    count
}

unsafe extern "C" fn sleep(_: *mut ffi::sqlite3_vfs, microseconds: c_int) -> c_int {
    microseconds
}

unsafe extern "C" fn current_time(vfs: *mut ffi::sqlite3_vfs, days: *mut f64) -> c_int {
    // SAFETY: see above.
    unsafe { *days = julian_ms(registered(vfs)) as f64 / 86_400_000.0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn current_time_ms(vfs: *mut ffi::sqlite3_vfs, ms: *mut i64) -> c_int {
    // SAFETY: see above.
    unsafe { *ms = julian_ms(registered(vfs)) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn last_error(_: *mut ffi::sqlite3_vfs, _: c_int, _: *mut c_char) -> c_int {
    0
}

fn julian_ms(registered: &Registered) -> i64 {
    const EPOCH_JULIAN_MS: i64 = 210_866_760_000_000;
    registered.disk.clock().wall_ms() + EPOCH_JULIAN_MS
}

fn lock_level(level: c_int) -> LockLevel {
    match level {
        ffi::SQLITE_LOCK_NONE => LockLevel::None,
        ffi::SQLITE_LOCK_SHARED => LockLevel::Shared,
        ffi::SQLITE_LOCK_RESERVED => LockLevel::Reserved,
        ffi::SQLITE_LOCK_PENDING => LockLevel::Pending,
        _ => LockLevel::Exclusive,
    }
}

fn granted(result: io::Result<bool>, error: c_int) -> c_int {
    match result {
        Ok(true) => ffi::SQLITE_OK,
        Ok(false) => ffi::SQLITE_BUSY,
        Err(_) => error,
    }
}
