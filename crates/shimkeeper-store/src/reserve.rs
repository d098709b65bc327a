// SPDX-License-Identifier: Apache-2.0
//! Room on the disk that is ours before it is needed, so that records can be deleted when there is none left.
//!
//! Deleting writes too: to the log first, from there to the database. Both files therefore own blocks beyond their
//! ends (`fallocate`, which leaves their sizes alone). Whatever makes the store larger is refused unless the
//! reserve is whole afterwards; deleting asks for nothing and lives on it. A file system without `fallocate`, or
//! one that writes every block to a new place, gives no such promise.
//!
//! The database's file is held open here for as long as SQLite has it open: closing any descriptor of a file
//! drops all of the process's record locks on it.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use crate::db;

/// What deleting may take of each file until the log starts over.
const MARGIN: u64 = 1 << 20;

#[derive(Debug)]
pub(crate) struct Reserve {
    database: File,
    log: File,
    /// Up to where each of them owns blocks, as far as is known.
    database_until: u64,
    log_until: u64,
    unsupported: bool,
}

impl Reserve {
    /// Opens the files beside SQLite. The log must be there.
    pub(crate) fn open(database: &Path) -> io::Result<Self> {
        let open = |path: &Path| OpenOptions::new().write(true).open(path);
        let mut log = database.as_os_str().to_owned();
        log.push(db::LOG_SUFFIX);
        Ok(Self {
            database: open(database)?,
            log: open(log.as_ref())?,
            database_until: 0,
            log_until: 0,
            unsupported: false,
        })
    }

    /// Sees to it that there is room to write `bytes` and, after that, to delete.
    pub(crate) fn ensure(&mut self, bytes: usize) -> io::Result<()> {
        // Twice, for pages that are not filled.
        let bytes = 2 * bytes as u64 + MARGIN;
        Self::grow(&self.database, &mut self.database_until, bytes, &mut self.unsupported)?;
        Self::grow(&self.log, &mut self.log_until, bytes, &mut self.unsupported)
    }

    /// The database was written to, and what it owned beyond its end may be gone.
    pub(crate) fn forget_database(&mut self) {
        self.database_until = 0;
    }

    fn grow(file: &File, until: &mut u64, bytes: u64, unsupported: &mut bool) -> io::Result<()> {
        let wanted = file.metadata()?.len() + bytes;
        if wanted <= *until || *unsupported {
            return Ok(());
        }
        // More than is wanted, so that the next few need not ask.
        let wanted = wanted + MARGIN / 4;
        loop {
            match fallocate(file, FallocateFlags::KEEP_SIZE, 0, wanted) {
                Ok(()) => *until = wanted,
                Err(Errno::INTR) => continue,
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => *unsupported = true,
                Err(error) => return Err(error.into()),
            }
            return Ok(());
        }
    }
}
