// SPDX-License-Identifier: Apache-2.0
//! A directory as it is at one moment: what a manager that is killed leaves to the next.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, symlink};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};

/// Copies a directory with everything in it but sockets, which are of no use without who listens on them.
pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (kind, old, new) = (entry.file_type().unwrap(), entry.path(), to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&old, &new);
        } else if kind.is_symlink() {
            symlink(fs::read_link(&old).unwrap(), &new).unwrap();
        } else if kind.is_fifo() {
            mknodat(CWD, &new, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        } else if kind.is_file() {
            fs::copy(&old, &new).unwrap();
        }
    }
}
