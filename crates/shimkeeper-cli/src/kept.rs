// SPDX-License-Identifier: Apache-2.0
//! What a container writes that nobody watches: kept in files by a log driver, which is this very command, started by
//! the container's shim and alive as long as the container.
//!
//! ```text
//! container ─▶ shim ─▶ shimkeeper log-driver ─▶ DIR/00000001.log 00000002.log …   `logs` and `attach` read them
//!                                               DIR/lock    held by the driver while it writes
//!                                               DIR/stdin   what is typed into the container (-d -i -t)
//!                                               DIR/sync    by which readers learn that all is written
//! ```
//! The last file is written to. When it is full the next begins, and when there are too many the first is removed. None
//! is ever renamed or written to again, so a reader that is on one of them cannot lose its place.
//!
//! A line is as kubelets know it: the time, the stream, `F` or `P` for a part that goes on, and the text, byte for byte.

pub(crate) mod driver;
mod entry;
mod reader;
mod settings;
mod sync;
mod watch;
mod writer;

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

pub(crate) use entry::{Entry, Stream};
pub(crate) use reader::{Begin, Item, Plain, Reader};
pub(crate) use settings::Settings;
pub(crate) use sync::Sync;
pub(crate) use watch::Watch;

/// The name of the hidden command. It is in the records of containers, and must stay what it is.
pub(crate) const DRIVER: &str = "log-driver";

const LOCK: &str = "lock";

/// The FIFO of what is typed into the container.
pub(crate) fn stdin(dir: &Path) -> PathBuf {
    dir.join("stdin")
}

/// Whether a driver writes there.
pub(crate) fn is_written(dir: &Path) -> bool {
    let Ok(lock) = File::open(dir.join(LOCK)) else { return false };
    flock(&lock, FlockOperation::NonBlockingLockShared) == Err(rustix::io::Errno::WOULDBLOCK)
}

/// Removes what a driver has left in the directory of the container `id`, and the directory.
///
/// The directory comes from a record that any client may have written. So nothing else is removed from it, and nothing
/// at all if it is not called as ours are.
pub(crate) fn remove(dir: &Path, id: &str) -> std::io::Result<()> {
    let suffix = dir.file_name().and_then(|name| name.to_str()?.strip_prefix(id)?.strip_prefix('-'));
    if suffix.is_none_or(|suffix| suffix.len() != 8 || !suffix.bytes().all(|byte| byte.is_ascii_hexdigit())) {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a directory of a log driver"));
    }
    let files = numbers(dir)?.into_iter().map(|number| file(dir, number));
    for path in files.chain([dir.join(LOCK), stdin(dir), sync::path(dir)]) {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    std::fs::remove_dir(dir)
}

/// The numbers of the files in `dir`, in order.
fn numbers(dir: &Path) -> std::io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".log"));
        numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn file(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:08}.log"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_a_drivers_is_removed() {
        let base = tempfile::tempdir().unwrap();
        let made = |name: &str, files: &[&str]| {
            let dir = base.path().join(name);
            std::fs::create_dir(&dir).unwrap();
            for file in files {
                std::fs::write(dir.join(file), "").unwrap();
            }
            dir
        };
        let ours = made("web-0123abcd", &["00000007.log", "lock", "stdin"]);
        remove(&ours, "web").unwrap();
        assert!(!ours.exists());
        for name in ["etc", "web", "web-", "web-0123abcg", "db-0123abcd", "web-0123abcd0"] {
            let other = made(name, &["00000001.log", "lock"]);
            assert!(remove(&other, "web").is_err() && other.join("lock").exists(), "{name}");
        }
        let shared = made("web-89abcdef", &["00000001.log", "passwd"]);
        assert!(remove(&shared, "web").is_err() && shared.join("passwd").exists());
    }
}
