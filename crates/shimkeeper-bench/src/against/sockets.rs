// SPDX-License-Identifier: Apache-2.0
//! The sockets of shims, which are outside of every daemon's directories: named by a hash of the daemon's address, the
//! namespace and the id. They are counted after an accident, and removed at the end.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::site::NAMESPACE;

/// Where shims of containerd's family make them.
const DIRECTORY: &str = "/run/containerd/s";

/// The socket of the shim that a daemon at `address` launched for `id`.
pub(crate) fn of(address: &Path, id: &str) -> PathBuf {
    let joined = format!("{}/{NAMESPACE}/{id}", address.display());
    let mut name = String::new();
    for byte in Sha256::digest(joined) {
        // Writing to a string does not fail.
        let _ = write!(name, "{byte:02x}");
    }
    Path::new(DIRECTORY).join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_that_of_containerd_s_shims() {
        let name = "78a20de6374146d6fb1f063715423fd8ec4243f562e5102aa0e1c6081936f851";
        assert_eq!(of(Path::new("/run/containerd/containerd.sock"), "web"), Path::new(DIRECTORY).join(name));
    }
}
