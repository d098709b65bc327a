// SPDX-License-Identifier: Apache-2.0
//! What a bundle, and the machine around it, still say: read once, before anything is decided. Blocking.

use std::path::PathBuf;

use shimkeeper_core::TaskKey;
use shimkeeper_shim::{
    Address, BootId, BootstrapParams, Bundle, BundleError, ProcessIdentity, ShimBinary, TaskApi,
    find_by_command_line, find_by_mark, listening_socket,
};

use crate::env::Env;
use crate::identify;
use crate::record::{Record, RecordFile, Stage};

/// What is left of a task.
pub(super) struct Remains {
    pub(super) bundle: Bundle,
    /// Our own record; none if containerd made the bundle, or if it is damaged.
    pub(super) record: Option<Record>,
    /// Where to dial.
    pub(super) params: Option<BootstrapParams>,
    /// The binary of its shim.
    pub(super) binary: PathBuf,
    /// The shim's processes that are alive.
    pub(super) shims: Vec<ProcessIdentity>,
    /// The init, if it is alive.
    pub(super) init: Option<ProcessIdentity>,
    /// Whether the machine was started anew since: then nothing of the task can be alive.
    pub(super) rebooted: bool,
}

impl Remains {
    pub(super) fn read(env: &Env, key: &TaskKey) -> Result<Self, BundleError> {
        let bundle = Bundle::open(&env.dirs, key)?;
        let record = RecordFile::read(&bundle).unwrap_or_else(|error| {
            tracing::warn!(task = %key, error = &error as &dyn std::error::Error, "going on without the record");
            None
        });
        let rebooted = record.as_ref().is_some_and(|record| record.boot_id != env.boot_id);
        let shims = if rebooted { Vec::new() } else { living_shims(&bundle, record.as_ref()) };
        let written = BootstrapParams::read(&bundle).ok();
        let params = written
            .or_else(|| record.as_ref()?.bootstrap.clone())
            .or_else(|| address_of(shims.first()?, record.as_ref()));
        let remembered = ShimBinary::remembered(&bundle).ok().flatten();
        let binary = remembered
            .or_else(|| record.as_ref().map(|record| record.runtime.clone()))
            .or_else(|| std::fs::read_link(format!("/proc/{}/exe", shims.first()?.pid)).ok())
            .unwrap_or_default();
        let init = if rebooted { None } else { living_init(&bundle, record.as_ref(), env.boot_id) };
        Ok(Self { bundle, record, params, binary, shims, init, rebooted })
    }

    /// Whether a shim may have been launched, and no task can have been made in it. `Create` is sent only once the
    /// shim's address is on record; where there is no record, the bundle has neither an address nor an init.
    pub(super) fn was_never_created(&self) -> bool {
        match &self.record {
            Some(record) => record.stage == Stage::Creating && record.bootstrap.is_none(),
            None => self.params.is_none() && self.shims.is_empty() && self.init.is_none(),
        }
    }

    /// Whether the shim is proven dead. Without a record of who it was, only the absence of every process that could
    /// be the shim or the init proves it.
    pub(super) fn is_proven_dead(&self) -> bool {
        let was_known = self.record.is_some();
        self.rebooted || (self.shims.is_empty() && (was_known || self.init.is_none()))
    }
}

fn living_shims(bundle: &Bundle, record: Option<&Record>) -> Vec<ProcessIdentity> {
    match record {
        Some(Record { shim: Some(shim), .. }) => {
            Some(*shim).filter(|shim| !identify::is_gone(shim)).into_iter().collect()
        }
        Some(record) => find_by_mark(record.incarnation),
        None => find_by_command_line(bundle),
    }
}

/// The init as it is on record; else the one whose pid the runtime wrote down, if that process is there.
fn living_init(bundle: &Bundle, record: Option<&Record>, boot_id: BootId) -> Option<ProcessIdentity> {
    let recorded = record.and_then(|record| record.init);
    let written = || {
        let text = bundle.read_file("init.pid").ok()??;
        let identity = identify::of(std::str::from_utf8(&text).ok()?.trim().parse().ok()?)?;
        Some(identity).filter(|identity| identity.boot_id == boot_id)
    };
    recorded.or_else(written).filter(|init| !identify::is_gone(init))
}

/// The address of a shim whose bundle does not say it, from the socket it listens on.
fn address_of(shim: &ProcessIdentity, record: Option<&Record>) -> Option<BootstrapParams> {
    let api =
        record.and_then(|record| record.bootstrap.as_ref()).map_or(TaskApi::TtrpcV3, |params| params.api);
    Some(BootstrapParams { api, address: Address::Unix(listening_socket(shim.pid)?) })
}
