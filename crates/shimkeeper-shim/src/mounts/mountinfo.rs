// SPDX-License-Identifier: Apache-2.0
//! Reads `/proc/<pid>/mountinfo` (proc(5)).
//!
//! A line that is not understood is an error and not skipped: it could be the mount that must not be deleted
//! across.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountPoint {
    /// The kernel's number for it, unique while it is mounted.
    pub id: u64,
    /// Where it is mounted.
    pub path: PathBuf,
    /// File system type.
    pub kind: String,
}

/// A line that is none of the table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the mount table has no {what}")]
pub struct MountinfoError {
    /// Its number, from 1.
    pub line: usize,
    /// What is missing in it.
    pub what: &'static str,
}

/// Fields before the optional ones: id, parent, device, root, mount point, options.
const FIXED_FIELDS: usize = 6;

/// Every mount, in the table's order: a mount comes after what it is mounted on.
///
/// # Errors
/// [`MountinfoError`] for the first line that is not understood.
pub fn parse_mountinfo(table: &[u8]) -> Result<Vec<MountPoint>, MountinfoError> {
    let lines = table.split(|b| *b == b'\n').enumerate().filter(|(_, line)| !line.is_empty());
    lines
        .map(|(index, line)| parse_line(line).map_err(|what| MountinfoError { line: index + 1, what }))
        .collect()
}

fn parse_line(line: &[u8]) -> Result<MountPoint, &'static str> {
    let fields: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
    let id = fields.first().and_then(|id| std::str::from_utf8(id).ok()).and_then(|id| id.parse().ok());
    let path = fields.get(4).filter(|path| path.starts_with(b"/")).ok_or("mount point")?;
    let optional = fields.get(FIXED_FIELDS..).ok_or("options")?;
    let separator = optional.iter().position(|field| *field == b"-").ok_or("separator")?;
    let kind = optional.get(separator + 1).ok_or("file system type")?;
    Ok(MountPoint {
        id: id.ok_or("id")?,
        path: PathBuf::from(OsString::from_vec(unescape(path))),
        kind: String::from_utf8_lossy(&unescape(kind)).into_owned(),
    })
}

/// Blanks, line ends and backslashes come as a backslash and three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let escaped = match after {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] if first == b'\\' => {
                Some(((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'), after))
            }
            _ => None,
        };
        let (byte, after) = escaped.unwrap_or((first, after));
        out.push(byte);
        rest = after;
    }
    out
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_every_shape_of_line() {
        let table = br"22 1 0:20 / /sys rw,nosuid shared:7 - sysfs sysfs rw
36 35 98:0 /mnt1 /mnt\040two\134x rw,noatime master:1 propagate_from:2 - ext3 /dev/root rw,errors=continue
40 22 0:5 / /run/a rw - tmpfs  rw
";
        let mounts = parse_mountinfo(table).unwrap();
        let seen: Vec<_> = mounts.iter().map(|m| (m.id, m.path.to_str().unwrap(), m.kind.as_str())).collect();
        assert_eq!(seen, [(22, "/sys", "sysfs"), (36, r"/mnt two\x", "ext3"), (40, "/run/a", "tmpfs")]);
    }

    #[test]
    fn a_line_that_is_not_understood_is_not_skipped() {
        let good = "22 1 0:20 / /sys rw - sysfs sysfs rw\n";
        for (bad, what) in [
            ("x", "mount point"),
            ("22 1 0:20 / sys rw - sysfs sysfs rw", "mount point"),
            ("x 1 0:20 / /sys rw - sysfs sysfs rw", "id"),
            ("22 1 0:20 / /sys rw sysfs sysfs rw", "separator"),
            ("22 1 0:20 / /sys rw -", "file system type"),
            ("22 1 0:20 / /sys", "options"),
        ] {
            let table = format!("{good}{bad}");
            assert_eq!(parse_mountinfo(table.as_bytes()), Err(MountinfoError { line: 2, what }), "{bad}");
        }
    }

    #[test]
    fn reads_this_machines_table() {
        let mounts = parse_mountinfo(&std::fs::read("/proc/self/mountinfo").unwrap()).unwrap();
        assert!(mounts.iter().any(|m| m.path.as_os_str() == "/proc" && m.kind == "proc"));
    }

    proptest! {
        #[test]
        fn any_path_reads_back(path in proptest::collection::vec(1u8..=255, 0..40)) {
            let mut escaped = Vec::new();
            for byte in &path {
                match byte {
                    b' ' | b'\t' | b'\n' | b'\\' | b'#' => escaped.extend(format!("\\{byte:03o}").bytes()),
                    _ => escaped.push(*byte),
                }
            }
            let line = [b"1 2 3:4 / /".as_slice(), &escaped, b" rw - tmpfs none rw\n"].concat();
            let mounts = parse_mountinfo(&line).unwrap();
            prop_assert_eq!(&mounts[0].path.as_os_str().as_bytes()[1..], path.as_slice());
        }

        #[test]
        fn no_table_panics(table in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse_mountinfo(&table);
        }
    }
}
