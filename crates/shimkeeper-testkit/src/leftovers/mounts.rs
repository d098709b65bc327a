// SPDX-License-Identifier: Apache-2.0
//! Mount points below a directory, from `/proc/self/mountinfo`.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::mount::{UnmountFlags, unmount};

/// The mount points at or below `dir`, the deepest first; none for an empty path.
pub(super) fn below(dir: &Path) -> Vec<PathBuf> {
    if dir.as_os_str().is_empty() {
        return Vec::new();
    }
    let table = fs::read("/proc/self/mountinfo").unwrap_or_default();
    let lines = table.split(|byte| *byte == b'\n');
    // A mount over another is listed after it, so backwards is a sound order to take them off.
    let mut points: Vec<PathBuf> =
        lines.filter_map(mount_point).filter(|point| point.starts_with(dir)).collect();
    points.reverse();
    points
}

/// Takes off every mount at or below `dir`, busy or not.
pub(crate) fn unmount_below(dir: &Path) -> io::Result<()> {
    for point in below(dir) {
        unmount(&point, UnmountFlags::DETACH)?;
    }
    Ok(())
}

/// The fifth field of a line.
fn mount_point(line: &[u8]) -> Option<PathBuf> {
    let field = line.split(|byte| *byte == b' ').nth(4)?;
    Some(OsString::from_vec(unescape(field)).into())
}

/// Undoes the octal escapes of spaces, tabs, newlines and backslashes.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        if let [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] = rest {
            out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
            rest = after;
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_may_have_spaces() {
        let line = br"36 35 98:0 /a /tmp/x\040y rw,noatime master:1 - ext4 /dev/root rw";
        assert_eq!(mount_point(line), Some("/tmp/x y".into()));
        assert_eq!(mount_point(b""), None);
        assert!(below(Path::new("/")).contains(&PathBuf::from("/proc")));
        assert!(below(Path::new("")).is_empty());
    }
}
