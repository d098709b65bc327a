// SPDX-License-Identifier: Apache-2.0
//! What the daemon says of itself. The installation's own number is made once, and kept where containerd keeps its, so
//! that a host that is switched over stays the same to its clients.

use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

/// The version.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The revision of the source it was built from, where whoever built it said so.
pub(crate) const REVISION: &str = match option_env!("SHIMKEEPER_REVISION") {
    Some(revision) => revision,
    None => "",
};

/// Below the root directory.
const DIR: &str = "io.containerd.grpc.v1.introspection";
const FILE: &str = "uuid";

/// The kernel makes a new one with every reading.
const SOURCE: &str = "/proc/sys/kernel/random/uuid";

/// Reads the number, or makes one where there is none that can be used.
pub(crate) fn read_or_make(root: &Path) -> io::Result<String> {
    let dir = root.join(DIR);
    let file = dir.join(FILE);
    match std::fs::read_to_string(&file) {
        Ok(text) if is_uuid(text.trim()) => return Ok(text.trim().to_owned()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let uuid = std::fs::read_to_string(SOURCE)?.trim().to_owned();
    std::fs::DirBuilder::new().recursive(true).mode(0o711).create(&dir)?;
    // Under another name first: one that is half written would be taken for damaged, and made anew.
    let fresh = dir.join("uuid.new");
    std::fs::write(&fresh, &uuid)?;
    std::fs::File::open(&fresh)?.sync_all()?;
    std::fs::rename(&fresh, &file)?;
    Ok(uuid)
}

fn is_uuid(text: &str) -> bool {
    let is_of_one = |(at, c): (usize, char)| match at {
        8 | 13 | 18 | 23 => c == '-',
        _ => c.is_ascii_hexdigit(),
    };
    text.len() == 36 && text.char_indices().all(is_of_one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once_and_again_only_when_it_is_damaged() {
        let root = tempfile::Builder::new().prefix("shimkeeper-").tempdir().unwrap();
        let first = read_or_make(root.path()).unwrap();
        assert!(is_uuid(&first), "{first}");
        assert_eq!(read_or_make(root.path()).unwrap(), first);
        std::fs::write(root.path().join(DIR).join(FILE), "half of on").unwrap();
        let second = read_or_make(root.path()).unwrap();
        assert!(is_uuid(&second) && second != first);
    }
}
