// SPDX-License-Identifier: Apache-2.0
//! What a launch needs of files: the shim's binary, found, and the bundle, made.
//!
//! Both are where somebody else said, a client or the configuration, and that may be on a disk that hangs. So they are
//! seen to on a thread for what blocks, and not waited for longer than a launch may take. A bundle that is made too late
//! for that is removed by whoever made it.

use std::sync::Arc;

use shimkeeper_core::TaskKey;
use shimkeeper_shim::{BundleDraft, BundleError, BundleSpec, Runtime, ShimBinary, resolve};

use super::undo::UndoBundle;
use crate::adopt;
use crate::env::Env;
use crate::error::{Cause, Error, Step};
use crate::registry::Reservation;
use crate::role::Role;

/// The binary of a shim, found or still to be found.
pub(super) enum Wanted {
    Runtime(Runtime),
    This(ShimBinary),
}

/// Finds the binary of a runtime.
///
/// # Cancel safety
/// Yes.
pub(crate) async fn find(env: &Arc<Env>, runtime: Runtime) -> Result<ShimBinary, Error> {
    let name = runtime.to_string();
    let env_there = env.clone();
    let work = move || Wanted::Runtime(runtime).found(&env_there);
    env.in_time(work).await.unwrap_or_else(|source| Err(Error::io(Step::Resolve, "find", name, source)))
}

/// Finds the binary, if that is still to be done, and makes the bundle, which has the id from then on; with no binary
/// there is no bundle.
pub(super) async fn find_and_make_bundle(
    env: &Arc<Env>,
    wanted: Wanted,
    role: Role,
    key: &TaskKey,
    spec: BundleSpec<'_>,
    reservation: Reservation,
) -> Result<(ShimBinary, UndoBundle), Error> {
    let name = key.to_string();
    let (env_there, key_there, json) = (env.clone(), key.clone(), spec.json.to_owned());
    let gid = spec.container_root_host_gid;
    let work = move || {
        let binary = wanted.found(&env_there)?;
        let spec = BundleSpec { json: &json, container_root_host_gid: gid };
        let draft = BundleDraft::create(env_there.dirs_of(role), &key_there, &spec);
        Ok((binary, draft.map_err(|e| Error::new(Step::Bundle, e))?))
    };
    let made = env.in_time(work).await;
    match made.unwrap_or_else(|source| Err(Error::io(Step::Bundle, "make", name, source))) {
        Ok((binary, draft)) => {
            let bundle = Arc::new(draft.keep());
            Ok((binary, UndoBundle::new(env.clone(), role, bundle, reservation)))
        }
        Err(error) => {
            if let Cause::Bundle(BundleError::Stays { undoing, .. }) = error.cause() {
                adopt::look_again(env, role, key.clone(), reservation, &undoing.to_string());
            }
            Err(error)
        }
    }
}

// === impl Wanted ===

impl Wanted {
    fn found(self, env: &Env) -> Result<ShimBinary, Error> {
        match self {
            Self::Runtime(runtime) => {
                resolve(&runtime, &env.search).map_err(|e| Error::new(Step::Resolve, e))
            }
            Self::This(binary) => Ok(binary),
        }
    }
}
