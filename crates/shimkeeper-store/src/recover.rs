// SPDX-License-Identifier: Apache-2.0
//! A store in place of one that is damaged or gone: what can still be read of it, and for every bundle that is then
//! without a record, the least that a record must say.
//!
//! ```text
//! damaged store ─ salvage ┐
//!                         ├─ new store, complete, beside the old ─ old one set aside ─ new one in its place
//! bundles ────────────────┘
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::bundles;
use crate::db;
use crate::error::OpenError;
use crate::index::Counts;
use crate::lock::Lock;
use crate::records::{ImportError, LeftOut, Records};
use crate::salvage::salvage;
use crate::store::Store;
use crate::transfer::Conflict;

/// Where the new store is made, in the directory of the old one.
const BESIDE: &str = "recovering";

/// What a recovery did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recovered {
    /// The store is whole: nothing was done.
    Whole(Counts),
    /// There is a new store.
    Anew {
        /// What was saved from the old one.
        salvaged: Counts,
        /// What was made from bundles.
        from_bundles: Counts,
        /// What is lost, and why.
        left_out: Vec<LeftOut>,
        /// Where the old one is now, if there was one.
        set_aside: Option<PathBuf>,
    },
}

/// Why a store could not be recovered.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The old store, or the new one, could not be worked with.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The new store could not be filled.
    #[error("the new store cannot be filled")]
    Import(#[source] ImportError),
}

impl shimkeeper_core::HasKind for RecoverError {
    fn kind(&self) -> shimkeeper_core::Kind {
        match self {
            Self::Open(error) => error.kind(),
            Self::Import(error) => error.kind(),
        }
    }
}

/// Puts a store in place of the one in `dir`, if that is damaged or gone; `state` is the state directory whose
/// bundles it has to describe. The old one is kept beside it.
///
/// # Errors
/// [`RecoverError`]; the old store is then as it was.
///
/// # Cancel safety
/// Not to be cancelled: what was made so far stays, out of the way, until the next attempt.
pub async fn recover(dir: &Path, state: &Path) -> Result<Recovered, RecoverError> {
    let lock = Lock::take(dir)?;
    match Records::read(dir) {
        Ok(records) => return Ok(Recovered::Whole(records.counts())),
        // It may be whole, and of a later version: not ours to replace.
        Err(error @ OpenError::Foreign { .. }) => return Err(error.into()),
        Err(_) => {}
    }
    let there = db::path(dir).exists();
    let (mut records, mut left_out) = if there { salvage(dir) } else { <_>::default() };
    let salvaged = records.counts();
    let (made, unclear) = bundles::records(state);
    records.supplement(made);
    left_out.extend(unclear);
    let total = records.counts();

    let beside = dir.join(BESIDE);
    let file = |verb, path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::File { verb, path, source }
    };
    if beside.exists() {
        fs::remove_dir_all(&beside).map_err(file("remove", &beside))?;
    }
    let new = Store::open_or_new(&beside)?;
    new.import(records, Conflict::Refuse).await.map_err(RecoverError::Import)?;
    // Closed, the database is complete without its log.
    drop(new);
    let set_aside = there.then(|| set_aside(dir)).transpose()?;
    let path = db::path(dir);
    fs::rename(db::path(&beside), &path).map_err(file("rename", &path))?;
    fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(file("sync", dir))?;
    fs::remove_dir_all(&beside).map_err(file("remove", &beside))?;
    drop(lock);
    let from_bundles = Counts {
        namespaces: total.namespaces - salvaged.namespaces,
        containers: total.containers - salvaged.containers,
        leases: 0,
        sandboxes: total.sandboxes - salvaged.sandboxes,
    };
    Ok(Recovered::Anew { salvaged, from_bundles, left_out, set_aside })
}

/// Gives the old database, and its log, another name. The database keeps the old name as well until the new one
/// takes it; the log does not, because it would be taken for the new one's.
fn set_aside(dir: &Path) -> Result<PathBuf, OpenError> {
    let old = db::path(dir);
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let aside = dir.join(format!("{}.damaged-{seconds}", db::FILE));
    let file = |verb, path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::File { verb, path, source }
    };
    fs::hard_link(&old, &aside).map_err(file("keep", &old))?;
    for (suffix, keep) in [(db::LOG_SUFFIX, true), ("-shm", false)] {
        let with_suffix = |path: &Path| PathBuf::from(format!("{}{suffix}", path.display()));
        let from = with_suffix(&old);
        let done = if keep { fs::rename(&from, with_suffix(&aside)) } else { fs::remove_file(&from) };
        match done {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(file("keep", &from)(error));
            }
            _ => {}
        }
    }
    Ok(aside)
}
