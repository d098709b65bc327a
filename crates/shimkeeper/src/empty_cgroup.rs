// SPDX-License-Identifier: Apache-2.0
//! Control groups that nobody else will remove. An OCI runtime that is killed between making them and writing down
//! that there is a container knows of none afterwards, so that its own `delete` leaves them.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use shimkeeper_shim::Bundle;

use crate::scope::Scope;

/// Where they are mounted.
const MOUNT: &str = "/sys/fs/cgroup";

/// As much of a container's spec as is looked at.
#[derive(Deserialize)]
struct Spec {
    linux: Option<Linux>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Linux {
    cgroups_path: Option<String>,
}

/// Between two looks: what is killed takes a moment to be dead.
const AGAIN: Duration = Duration::from_millis(10);

/// Removes the control groups that a bundle's spec names, where there is nothing in them. Looks again until there are
/// none, at most for `patience`.
pub(crate) async fn remove(scope: &Scope, bundle: &Arc<Bundle>, patience: Duration) {
    let ends = Instant::now() + patience;
    let mut were_none = false;
    loop {
        let bundle = bundle.clone();
        let are_none = scope.spawn_blocking(move || remove_once(&bundle)).await.unwrap_or(true);
        if (are_none && were_none) || Instant::now() >= ends {
            return;
        }
        // Whoever makes them may be dying, and have made one since.
        were_none = are_none;
        tokio::time::sleep(AGAIN).await;
    }
}

/// Whether there was none.
fn remove_once(bundle: &Bundle) -> bool {
    let Ok(Some(spec)) = bundle.read_file("config.json") else { return true };
    let Some(path) = path_in(&spec) else { return true };
    let mut were_none = true;
    for place in hierarchies().iter().map(|hierarchy| hierarchy.join(&path)) {
        // The kernel refuses where a process or another group is in it.
        match std::fs::remove_dir(&place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Ok(()) => tracing::info!(
                namespace = %bundle.key().namespace, task = %bundle.key().id,
                "removed {}", place.display()
            ),
            Err(error) => tracing::debug!(
                namespace = %bundle.key().namespace, task = %bundle.key().id, %error,
                "{} stays", place.display()
            ),
        }
        were_none = false;
    }
    were_none
}

/// The path of the groups below the root of each hierarchy. `None` where it is not said, or left to systemd, which
/// removes its own, or to the runtime's whereabouts.
fn path_in(spec: &[u8]) -> Option<PathBuf> {
    let spec: Spec = serde_json::from_slice(spec).ok()?;
    let path = spec.linux?.cgroups_path?;
    let below = Path::new(&path).strip_prefix("/").ok()?;
    let is_plain = below.components().all(|part| matches!(part, Component::Normal(_)));
    (is_plain && below.components().next().is_some()).then(|| below.to_owned())
}

/// The roots of all hierarchies: the mount point itself, and whatever is mounted in it.
fn hierarchies() -> Vec<PathBuf> {
    let device = |path: &Path| {
        let found = std::fs::symlink_metadata(path).ok()?;
        found.is_dir().then(|| found.dev())
    };
    let mount = PathBuf::from(MOUNT);
    let own = device(&mount);
    let entries = std::fs::read_dir(&mount).into_iter().flatten().filter_map(Result::ok);
    let others =
        entries.map(|entry| entry.path()).filter(|path| device(path).is_some_and(|d| Some(d) != own));
    std::iter::once(mount.clone()).chain(others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_path_is_one() {
        let read = |path: &str| {
            path_in(serde_json::json!({ "linux": { "cgroupsPath": path } }).to_string().as_bytes())
        };
        assert_eq!(read("/a/b"), Some("a/b".into()));
        for other in ["", "/", "a", "/a/../../b", "system.slice:runc:a"] {
            assert_eq!(read(other), None, "{other}");
        }
        assert_eq!(path_in(b"{}"), None);
        assert_eq!(path_in(b"no spec"), None);
    }
}
