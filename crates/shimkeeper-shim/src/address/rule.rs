// SPDX-License-Identifier: Apache-2.0
//! Where a shim of containerd's family listens, where nothing says so any more: the name of its socket is a hash of what
//! it was launched with.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::Address;
use crate::Bundle;

/// The directory of the sockets, whatever the manager's own directories are.
const SOCKETS: &str = "/run/containerd/s";

/// What the shims of one group have in common; the first there is counts.
const GROUPS: [&str; 2] = ["io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"];

impl Address {
    /// Where the shim of this bundle listens if it was launched with this `-address` and does what containerd's own
    /// shims do. Says nothing about whether anybody listens there. Blocking file operations.
    pub fn by_rule(bundle: &Bundle, manager: &str) -> Self {
        let group = group(bundle).unwrap_or_else(|| bundle.key().id.to_string());
        Self::unix(socket(manager, bundle.key().namespace.as_str(), &group))
    }
}

fn socket(manager: &str, namespace: &str, group: &str) -> PathBuf {
    let joined = format!("{}/{namespace}/{group}", manager.trim_end_matches('/'));
    let mut name = String::new();
    for byte in Sha256::digest(joined) {
        // Writing to a string does not fail.
        let _ = write!(name, "{byte:02x}");
    }
    Path::new(SOCKETS).join(name)
}

/// The group that the container's annotations put it in.
fn group(bundle: &Bundle) -> Option<String> {
    #[derive(Deserialize)]
    struct Spec {
        #[serde(default)]
        annotations: Option<HashMap<String, String>>,
    }
    let json = bundle.read_file("config.json").ok()??;
    let mut annotations = serde_json::from_slice::<Spec>(&json).ok()?.annotations?;
    GROUPS.iter().find_map(|name| annotations.remove(*name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::a_bundle;

    #[test]
    fn the_socket_is_named_by_a_hash() {
        // That of the text `/run/containerd/containerd.sock/default/web`.
        let name = "2cde4450fa38c74f53603e01d2afd903b315a27a596f12a151414cd59897d883";
        let path = socket("/run/containerd/containerd.sock", "default", "web");
        assert_eq!(path, Path::new(SOCKETS).join(name));
    }

    #[test]
    fn annotations_decide_the_group() {
        let (_dir, bundle) = a_bundle();
        let of = |group: &str| Address::unix(socket("/m", "ns", group));
        for (spec, expected) in [
            ("{}", "id"),
            (r#"{"annotations":{"io.kubernetes.cri.sandbox-id":"pod"}}"#, "pod"),
            (
                r#"{"annotations":{"io.kubernetes.cri.sandbox-id":"pod","io.containerd.runc.v2.group":"g"}}"#,
                "g",
            ),
            (r#"{"annotations":null}"#, "id"),
            ("{", "id"),
        ] {
            std::fs::write(bundle.dir().join("config.json"), spec).unwrap();
            assert_eq!(Address::by_rule(&bundle, "/m"), of(expected), "{spec}");
        }
    }
}
