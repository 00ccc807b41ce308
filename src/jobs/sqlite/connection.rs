//! Connections to the file.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::schema;

/// 3.51.3. In earlier versions, two connections that write and checkpoint at the same time could damage the file.
const OLDEST_SQLITE: i32 = 3_051_003;

/// Interval at which a lock of another process is tried again, and the most tries. SQLite's own handler pauses up to
/// 100 ms, and would rarely find the lock free while another process writes all the time.
const TRY_EVERY: Duration = Duration::from_millis(1);
const MAX_TRIES: i32 = 5000;

/// Statements that a connection keeps prepared: more than there are.
const PREPARED: usize = 100;

/// Size to which SQLite cuts the log after writing it back, in bytes.
const MAX_IDLE_LOG: u32 = 64 << 20;

/// Only its owner may read the file; the files that SQLite makes beside it get the same mode.
const PRIVATE: u32 = 0o600;

/// Opens the file, or makes it. Its tables may be missing or old.
///
/// # Errors
/// A sentence, when the file cannot be used. It is left as it was.
pub fn open(path: &Path) -> Result<Connection, String> {
    if rusqlite::version_number() < OLDEST_SQLITE {
        return Err(format!("SQLite {} is too old; 3.51.3 is needed", rusqlite::version()));
    }
    make_private(path)
        .map_err(|error| format!("could not create {} with mode 600: {error}", path.display()))?;
    let sentence = |error: rusqlite::Error| sentence(path, &error);
    let connection = patiently(|| connect(path)).map_err(sentence)?;
    if let Some(refusal) = patiently(|| schema::refusal(&connection)).map_err(sentence)? {
        return Err(format!("{} {refusal}", path.display()));
    }
    let mode = patiently(|| use_log(&connection)).map_err(sentence)?;
    if mode != "wal" {
        let path = path.display();
        return Err(format!("{path} is on a file system without shared memory; set DATA_DIR elsewhere"));
    }
    Ok(connection)
}

/// Describes an error while opening the file.
pub fn sentence(path: &Path, error: &rusqlite::Error) -> String {
    let path = path.display();
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => {
            format!("{path} is not a SQLite database; move it away, or set DATA_DIR elsewhere")
        }
        Some(ErrorCode::DatabaseCorrupt) => {
            format!("{path} is damaged; restore it from a backup, or move it away")
        }
        _ => format!("could not open {path}: {error}"),
    }
}

/// Makes the file if it is missing. An existing file must not be opened here: closing it would give up the locks that
/// this process has on it.
fn make_private(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(PRIVATE).open(path) {
        Ok(_) => {
            // The name is part of the folder, and the name of the folder part of its own.
            for folder in path.ancestors().skip(1).take(2) {
                let _ = File::open(folder).and_then(|folder| folder.sync_all());
            }
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let is_open_to_others = fs::metadata(path)?.permissions().mode() & 0o077 != 0;
            if is_open_to_others {
                fs::set_permissions(path, Permissions::from_mode(PRIVATE))?;
            }
            Ok(())
        }
        Err(error) => Err(error),
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    // Each connection belongs to one thread.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_handler(Some(wait_for_lock as fn(i32) -> bool))?;
    connection.set_prepared_statement_cache_capacity(PREPARED);
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "journal_size_limit", MAX_IDLE_LOG)?;
    Ok(connection)
}

/// Switches to a write-ahead log, unless the file has one; returns the mode that it is in then.
fn use_log(connection: &Connection) -> rusqlite::Result<String> {
    connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))
}

fn wait_for_lock(tries: i32) -> bool {
    thread::sleep(TRY_EVERY);
    tries < MAX_TRIES
}

/// Repeats a step while another process has the file. SQLite itself does not wait while a process switches to a
/// write-ahead log, or recovers it.
fn patiently<T>(mut step: impl FnMut() -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    let began = Instant::now();
    loop {
        match step() {
            Err(error) if is_busy(&error) && began.elapsed() < TRY_EVERY * MAX_TRIES.unsigned_abs() => {
                thread::sleep(TRY_EVERY);
            }
            done => return done,
        }
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}
