// SPDX-License-Identifier: Apache-2.0
//! Walking a directory. Stateless.

use std::io;
use std::path::{Path, PathBuf};

/// Every file below `root`, sorted, relative to it; nothing if there is no `root`.
pub(crate) fn below(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(dir) = pending.pop() {
        let entries = match std::fs::read_dir(root.join(&dir)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let into = if entry.file_type()?.is_dir() { &mut pending } else { &mut files };
            into.push(dir.join(entry.file_name()));
        }
    }
    files.sort();
    Ok(files)
}
