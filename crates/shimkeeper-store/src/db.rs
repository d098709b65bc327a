// SPDX-License-Identifier: Apache-2.0
//! The database: one table of records, each with a check sum, in a file that appears whole or not at all.
//!
//! ```text
//! <dir>/store.db       the table
//! <dir>/store.db-wal   what was written last; kept over a restart, so that there is room to write on a full disk
//! <dir>/lock           held by whoever has the store open
//! ```

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, params};

use crate::error::{Damage, OpenError, StoreError};
use crate::kind::RecordKind;
use crate::record::{Record, Row};

/// The database's name in the store's directory.
pub(crate) const FILE: &str = "store.db";
/// What SQLite appends to it for the log of the last writes.
pub(crate) const LOG_SUFFIX: &str = "-wal";

/// "shim" in ASCII: whose file this is.
const APPLICATION: i32 = 0x7368_696d;
/// Version of the table. A build that does not know it does not touch it.
const VERSION: i32 = 1;

const SCHEMA: &str = "\
CREATE TABLE records (
    kind TEXT NOT NULL,
    namespace TEXT NOT NULL,
    id TEXT NOT NULL,
    revision INTEGER NOT NULL,
    meta TEXT NOT NULL,
    spec BLOB,
    crc INTEGER NOT NULL,
    PRIMARY KEY (kind, namespace, id)
) STRICT;";

/// A record as it was found.
pub(crate) struct Found {
    pub(crate) kind: String,
    pub(crate) namespace: String,
    pub(crate) id: String,
    pub(crate) revision: u64,
    pub(crate) row: Row,
    crc: u32,
}

impl Found {
    /// Whether it is what was written.
    pub(crate) fn check(&self) -> Result<(), Damage> {
        let crc = checksum(&self.kind, &self.namespace, &self.id, self.revision, &self.row);
        if crc == self.crc { Ok(()) } else { Err(Damage::Checksum) }
    }

    /// The record, if it is whole.
    pub(crate) fn decode<R: Record>(&self) -> Result<R, StoreError> {
        let damaged = |problem| StoreError::Damaged {
            kind: R::KIND,
            namespace: self.namespace.clone(),
            id: self.id.clone(),
            problem,
        };
        self.check().map_err(damaged)?;
        R::from_row(&self.namespace, &self.id, &self.row).map_err(|error| damaged(Damage::Form(error)))
    }
}

// === files ===

pub(crate) fn path(dir: &Path) -> PathBuf {
    dir.join(FILE)
}

/// Makes an empty store. A process that is killed meanwhile leaves none.
pub(crate) fn create(dir: &Path) -> Result<(), OpenError> {
    let new = dir.join("store.db.new");
    let file = |verb, path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::File { verb, path, source }
    };
    let database = |source| OpenError::Database { verb: "create", path: new.clone(), source };
    for leftover in [new.clone(), dir.join("store.db.new-journal")] {
        match fs::remove_file(&leftover) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(file("remove", &leftover)(error));
            }
            _ => {}
        }
    }
    let connection = Connection::open(&new).map_err(database)?;
    connection.execute_batch("PRAGMA synchronous = FULL;").map_err(database)?;
    connection.execute_batch(&format!("PRAGMA application_id = {APPLICATION};")).map_err(database)?;
    connection.execute_batch(&format!("PRAGMA user_version = {VERSION};")).map_err(database)?;
    connection.execute_batch(SCHEMA).map_err(database)?;
    connection.close().map_err(|(_, error)| database(error))?;
    fs::rename(&new, path(dir)).map_err(file("rename", &new))?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(file("sync", dir))
}

/// Opens the database that is there, for writing or for reading.
pub(crate) fn connect(path: &Path, write: bool) -> rusqlite::Result<Connection> {
    let mode = if write { OpenFlags::SQLITE_OPEN_READ_WRITE } else { OpenFlags::SQLITE_OPEN_READ_ONLY };
    let connection = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    // The log is emptied when the writer says so, and its file stays: see `reserve`.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    let cache = if write { 256 } else { 64 };
    connection.execute_batch(&format!(
        "PRAGMA cache_size = -{cache}; PRAGMA temp_store = MEMORY; PRAGMA cell_size_check = ON; \
         PRAGMA wal_autocheckpoint = 0; PRAGMA synchronous = FULL;"
    ))?;
    Ok(connection)
}

/// Sees to it that the file is a store of this version.
pub(crate) fn identify(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let number = |name| connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i32>(0));
    let application = number("application_id").map_err(|error| of_open(path, error))?;
    let version = number("user_version").map_err(|error| of_open(path, error))?;
    if (application, version) != (APPLICATION, VERSION) && (application, version) != (0, 0) {
        let found = format!("application {application:#x}, version {version}");
        return Err(OpenError::Foreign { path: path.to_owned(), found });
    }
    let sql = "SELECT sql FROM sqlite_schema WHERE name = 'records'";
    let table = connection.query_row(sql, [], |row| row.get::<_, String>(0)).optional();
    let problem = match table.map_err(|error| of_open(path, error))? {
        Some(table) if format!("{table};") == SCHEMA => return Ok(()),
        Some(_) => "its table is not what was made",
        None => "its table is gone",
    };
    Err(OpenError::Damaged { dir: path.parent().unwrap_or(path).to_owned(), problem: problem.to_owned() })
}

/// Lets go of the pages that nobody uses.
pub(crate) fn shrink(connection: &Connection) {
    // It fails of nothing but a connection that is of no use for anything else either.
    let _ = connection.execute_batch("PRAGMA shrink_memory;");
}

/// Looks through the whole file for damage that SQLite can see. The quick check would not do: it does not compare
/// the index with the table, and a record that is not found by its name looks like one that was deleted.
pub(crate) fn check(connection: &Connection) -> rusqlite::Result<Result<(), String>> {
    let said: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    // It has read every page; hardly one of them is needed soon.
    shrink(connection);
    Ok(if said == "ok" { Ok(()) } else { Err(said) })
}

/// What a failure while opening means: damage, or something else.
pub(crate) fn of_open(path: &Path, source: rusqlite::Error) -> OpenError {
    let damaged =
        matches!(source.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase));
    if damaged {
        let dir = path.parent().unwrap_or(path).to_owned();
        return OpenError::Damaged { dir, problem: source.to_string() };
    }
    OpenError::Database { verb: "open", path: path.to_owned(), source }
}

// === records ===

const COLUMNS: &str = "kind, namespace, id, revision, meta, spec, crc";

fn found(row: &rusqlite::Row<'_>) -> rusqlite::Result<Found> {
    let spec: Option<Vec<u8>> = row.get(5)?;
    Ok(Found {
        kind: row.get(0)?,
        namespace: row.get(1)?,
        id: row.get(2)?,
        revision: row.get::<_, i64>(3)?.cast_unsigned(),
        row: Row { meta: row.get(4)?, spec: spec.map(Bytes::from) },
        crc: row.get(6)?,
    })
}

pub(crate) fn get(
    connection: &Connection,
    kind: RecordKind,
    namespace: &str,
    id: &str,
) -> rusqlite::Result<Option<Found>> {
    let sql = format!("SELECT {COLUMNS} FROM records WHERE kind = ?1 AND namespace = ?2 AND id = ?3");
    let mut statement = connection.prepare_cached(&sql)?;
    statement.query_row(params![kind.as_str(), namespace, id], found).optional()
}

pub(crate) fn exists(
    connection: &Connection,
    kind: RecordKind,
    namespace: &str,
    id: &str,
) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM records WHERE kind = ?1 AND namespace = ?2 AND id = ?3)";
    connection.prepare_cached(sql)?.query_row(params![kind.as_str(), namespace, id], |row| row.get(0))
}

/// Every record, in the order in which they are in the file.
pub(crate) fn each<E: From<rusqlite::Error>>(
    connection: &Connection,
    mut visit: impl FnMut(Found) -> Result<(), E>,
) -> Result<(), E> {
    let sql = format!("SELECT {COLUMNS} FROM records NOT INDEXED");
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        visit(found(row)?)?;
    }
    Ok(())
}

/// The record with this number in the table.
pub(crate) fn by_row(connection: &Connection, row: i64) -> rusqlite::Result<Found> {
    let sql = format!("SELECT {COLUMNS} FROM records NOT INDEXED WHERE rowid = ?1");
    connection.prepare_cached(&sql)?.query_row([row], found)
}

/// Whether a namespace has a record of this kind.
pub(crate) fn any(connection: &Connection, kind: RecordKind, namespace: &str) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM records WHERE kind = ?1 AND namespace = ?2)";
    connection.prepare_cached(sql)?.query_row(params![kind.as_str(), namespace], |row| row.get(0))
}

pub(crate) fn put(
    connection: &Connection,
    kind: RecordKind,
    namespace: &str,
    id: &str,
    revision: u64,
    row: &Row,
) -> rusqlite::Result<()> {
    let crc = checksum(kind.as_str(), namespace, id, revision, row);
    let sql = "INSERT OR REPLACE INTO records VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let (kind, revision, spec) = (kind.as_str(), revision.cast_signed(), row.spec.as_deref());
    connection.prepare_cached(sql)?.execute(params![kind, namespace, id, revision, row.meta, spec, crc])?;
    Ok(())
}

/// Whether there was one.
pub(crate) fn delete(
    connection: &Connection,
    kind: RecordKind,
    namespace: &str,
    id: &str,
) -> rusqlite::Result<bool> {
    let sql = "DELETE FROM records WHERE kind = ?1 AND namespace = ?2 AND id = ?3";
    Ok(connection.prepare_cached(sql)?.execute(params![kind.as_str(), namespace, id])? > 0)
}

/// Everything that a namespace holds of this kind.
pub(crate) fn delete_all(connection: &Connection, kind: RecordKind, namespace: &str) -> rusqlite::Result<()> {
    let sql = "DELETE FROM records WHERE kind = ?1 AND namespace = ?2";
    connection.prepare_cached(sql)?.execute(params![kind.as_str(), namespace])?;
    Ok(())
}

/// Over everything in a row, each part with its length, so that no two rows differ in nothing but their borders.
fn checksum(kind: &str, namespace: &str, id: &str, revision: u64, row: &Row) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&revision.to_le_bytes());
    let spec = row.spec.as_deref();
    for part in
        [kind.as_bytes(), namespace.as_bytes(), id.as_bytes(), row.meta.as_bytes()].into_iter().chain(spec)
    {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize()
}
