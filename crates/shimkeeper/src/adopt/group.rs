// SPDX-License-Identifier: Apache-2.0
//! Whose shim a task of containerd's is under, when it is not its own: the spec's annotations and the bundle say it.

use std::collections::HashSet;

use shimkeeper_core::TaskKey;
use shimkeeper_shim::{Bundle, Findings, ProcessIdentity, ShimProcesses};

use crate::env::Env;
use crate::oci;

/// The file in which containerd writes down the sandbox that a task was made in.
const SANDBOX_FILE: &str = "sandbox";

/// Every process that was started as the shim of those this task shares one with; those that may be add to `unknown`.
pub(super) fn leaders(
    env: &Env,
    shims: &ShimProcesses,
    bundle: &Bundle,
    unknown: Vec<ProcessIdentity>,
) -> Findings {
    let mut ids: HashSet<String> = annotated(bundle).into_iter().collect();
    let sandbox = bundle.read_file(SANDBOX_FILE).ok().flatten();
    ids.extend(sandbox.and_then(|id| String::from_utf8(id).ok()));
    let mut all = Findings { found: Vec::new(), unknown };
    for id in ids {
        // What is no id leads nowhere.
        let Ok(id) = id.parse() else { continue };
        let key = TaskKey::new(bundle.key().namespace.clone(), id);
        for dirs in [&env.dirs, &env.sandbox_dirs] {
            let Ok(leader) = Bundle::open(dirs, &key) else { continue };
            let Findings { found, unknown } = shims.of(&leader);
            all.found.extend(found);
            all.unknown.extend(unknown);
        }
    }
    all
}

/// The group that the annotations of the task's spec name.
fn annotated(bundle: &Bundle) -> Option<String> {
    oci::group(&serde_json::from_slice(&bundle.read_file("config.json").ok()??).ok()?)
}
