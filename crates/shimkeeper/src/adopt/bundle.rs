// SPDX-License-Identifier: Apache-2.0
//! What a bundle, and the machine around it, still say: read once, before anything is decided. Blocking.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use shimkeeper_core::TaskKey;
use shimkeeper_shim::{
    Address, BootstrapParams, Bundle, BundleError, Bundles, Findings, IdentityError, LogError, Logs, Pidfd,
    ProcessIdentity, ShimBinary, ShimLog, ShimProcesses, expect_open_files, find_by_mark,
    open_files_run_short, program,
};

use super::group;
use crate::env::Env;
use crate::record::{Record, RecordFile, Stage};
use crate::{identify, whereabouts};

/// What is seen of the machine once, for all bundles.
#[derive(Debug, Default)]
pub(super) struct Sight {
    /// Only if one of them needs it.
    shims: OnceLock<ShimProcesses>,
    /// Whether as many files may be open as they take.
    pub(super) has_files: bool,
}

/// What the files of a bundle say.
pub(super) struct Papers {
    bundle: Bundle,
    /// Our own record; none if containerd made the bundle, or if it is damaged.
    record: Option<Record>,
    /// Where its shim listens by its files.
    written: Option<BootstrapParams>,
    /// The binary of its shim, where there is no record.
    remembered: Option<PathBuf>,
    log: ShimLog,
}

/// What is left of a task.
pub(super) struct Remains {
    pub(super) bundle: Bundle,
    /// Our own record; none if containerd made the bundle, or if it is damaged.
    pub(super) record: Option<Record>,
    /// Where its shim listens by its files.
    pub(super) written: Option<BootstrapParams>,
    pub(super) log: ShimLog,
    /// Where to dial, the most likely first.
    pub(super) places: Vec<BootstrapParams>,
    /// Whether these are all places there are; else the machine has not been looked at for others.
    pub(super) are_all_places: bool,
    /// The binary of its shim.
    pub(super) binary: PathBuf,
    /// The shim's processes that are alive; where that cannot be found out, there may be any.
    pub(super) shims: Result<Findings, IdentityError>,
    /// A hold on the init, if it is alive; where that cannot be found out, it may be.
    pub(super) init: Result<Option<Pidfd>, IdentityError>,
    /// Whether the OCI runtime wrote down the pid of an init. Of a bundle that has a record, nobody asks.
    pub(super) had_init: bool,
    /// Whether the machine was started anew since: then nothing of the task can be alive.
    pub(super) rebooted: bool,
}

/// Files that are open for a bundle at the same time.
const FILES: usize = 4;

/// Where the OCI runtime writes the pid of the init to.
const INIT_PID: &str = "init.pid";

/// How much later than its pid was written an init may seem to have started: clocks are read twice.
const CLOCK_SLACK: Duration = Duration::from_secs(1);

impl Sight {
    /// For so many bundles.
    pub(super) fn of(bundles: usize) -> Self {
        Self { has_files: expect_open_files(bundles * FILES), ..Self::default() }
    }

    fn shims(&self, env: &Env) -> Result<&ShimProcesses, IdentityError> {
        match self.shims.get() {
            Some(shims) => Ok(shims),
            // What fails is tried again for the next bundle.
            None => env.shim_processes().map(|shims| self.shims.get_or_init(|| shims)),
        }
    }

    /// Whether too few files may be open for a task more, so that clients would not be accepted.
    pub(super) fn files_run_short(&self) -> bool {
        !self.has_files && open_files_run_short()
    }
}

impl Papers {
    /// Reads them, and opens the log.
    pub(super) fn read(logs: &Logs, bundles: &Bundles, key: &TaskKey) -> Result<Self, BundleError> {
        let bundle = bundles.get(key)?;
        let record = RecordFile::read(&bundle).unwrap_or_else(|error| {
            tracing::warn!(
                namespace = %key.namespace, task = %key.id, error = &error as &dyn std::error::Error,
                "going on without the record"
            );
            None
        });
        let written = BootstrapParams::read(&bundle).ok();
        let remembered = match &record {
            Some(_) => None,
            None => ShimBinary::remembered(&bundle).ok().flatten(),
        };
        let log = open_log(logs, &bundle);
        Ok(Self { bundle: bundle.released(), record, written, remembered, log })
    }

    /// Where the shim of this bundle listens, as far as files say so.
    pub(super) fn address(&self) -> Option<&Address> {
        let recorded = || self.record.as_ref()?.bootstrap.as_ref();
        self.written.as_ref().or_else(recorded).map(|params| &params.address)
    }

    /// Whether what else there is to know of the task is known by looking at two processes, which waits for nothing.
    pub(super) fn are_complete(&self) -> bool {
        self.address().is_some() && self.record.as_ref().is_some_and(|record| record.shim.is_some())
    }
}

/// Opens the shim's log, if it can be read: the task is adopted without it, too.
fn open_log(logs: &Logs, bundle: &Bundle) -> ShimLog {
    let opened = logs.open(bundle);
    let failed = |error: &LogError| {
        let error = error as &dyn std::error::Error;
        tracing::warn!(
            namespace = %bundle.key().namespace, task = %bundle.key().id, error,
            "the log of its shim cannot be read"
        );
    };
    opened.inspect_err(failed).unwrap_or_default()
}

impl Remains {
    pub(super) fn of(env: &Env, papers: Papers, sight: &Sight) -> Self {
        let Papers { bundle, record, written, remembered, log } = papers;
        let rebooted = record.as_ref().is_some_and(|record| record.boot_id != env.boot_id);
        let (init, parent) = if rebooted { (Ok(None), None) } else { living_init(&bundle, record.as_ref()) };
        let shims = if rebooted {
            Ok(Findings::default())
        } else {
            living_shims(env, &bundle, record.as_ref(), parent, sight)
        };
        let recorded = record.as_ref().and_then(|record| record.bootstrap.as_ref());
        let mut places = whereabouts::told(written.as_ref(), recorded);
        let are_all_places = places.is_empty();
        if are_all_places {
            places = whereabouts::seen(env, &bundle, recorded, found(&shims), &[]);
        }
        let binary = remembered
            .or_else(|| record.as_ref().map(|record| record.runtime.path().to_owned()))
            .or_else(|| program(found(&shims).first()?.pid))
            .unwrap_or_default();
        let had_init = record.is_none() && !matches!(bundle.read_file(INIT_PID), Ok(None));
        Self { bundle, record, written, log, places, are_all_places, binary, shims, init, had_init, rebooted }
    }

    /// Whether a shim may have been launched, and no task can have been made in it. `Create` is sent only once the
    /// shim's address is on record; where there is no record, the bundle has neither an address nor an init.
    pub(super) fn was_never_created(&self) -> bool {
        match &self.record {
            Some(record) => record.stage == Stage::Creating && record.bootstrap.is_none(),
            None => self.places.is_empty() && !self.has_processes() && !self.had_init,
        }
    }

    /// The shim's processes that were found alive.
    pub(super) fn found(&self) -> &[ProcessIdentity] {
        found(&self.shims)
    }

    /// The shim's process, where there is one that could be it.
    pub(super) fn only_shim(&self) -> Option<ProcessIdentity> {
        match self.found() {
            [only] => Some(*only),
            _ => None,
        }
    }

    /// Whether the shim is proven dead by what was written down of it.
    pub(super) fn is_proven_dead(&self) -> bool {
        let knows_it = self.record.as_ref().is_some_and(Record::knows_its_shim);
        self.rebooted || (knows_it && has_none(&self.shims))
    }

    /// Whether there is any process that could be the shim or the init. Where nothing was written down of them, it
    /// takes this too to say that they live, or that they do not.
    pub(super) fn has_processes(&self) -> bool {
        !has_none(&self.shims) || !matches!(self.init, Ok(None))
    }
}

fn found(shims: &Result<Findings, IdentityError>) -> &[ProcessIdentity] {
    shims.as_ref().map_or(&[], |findings| &findings.found)
}

/// Whether it is certain that there is none.
fn has_none(shims: &Result<Findings, IdentityError>) -> bool {
    shims.as_ref().is_ok_and(|findings| *findings == Findings::default())
}

/// The shim's processes that are alive; `parent` has the init on record as a child.
fn living_shims(
    env: &Env,
    bundle: &Bundle,
    record: Option<&Record>,
    parent: Option<u32>,
    sight: &Sight,
) -> Result<Findings, IdentityError> {
    match record {
        Some(Record { shim: Some(shim), .. }) => {
            // Looked at once for both: an orphan becomes the child of one of its ancestors, which are older than the shim,
            // and so whoever has the shim's pid and its init is the shim.
            let is_there = parent == Some(shim.pid) || !identify::is_gone(shim);
            let found = Some(*shim).filter(|_| is_there).into_iter().collect();
            Ok(Findings { found, unknown: Vec::new() })
        }
        Some(record) if record.knows_its_shim() => find_by_mark(&record.launch, &env.own_shims()),
        Some(_) | None => {
            let shims = sight.shims(env)?;
            let own = shims.of(bundle);
            // Where several tasks share a shim, it goes by the id of the first, or of their sandbox.
            Ok(if own.found.is_empty() { group::leaders(env, shims, bundle, own.unknown) } else { own })
        }
    }
}

/// The init as it is on record; else the one whose pid the runtime wrote down, if that process was there by then: the
/// file may be older than the process that has the pid now. With the pid of its parent, if it is on record.
fn living_init(
    bundle: &Bundle,
    record: Option<&Record>,
) -> (Result<Option<Pidfd>, IdentityError>, Option<u32>) {
    let recorded = record.and_then(|record| record.init);
    let written = || {
        let text = bundle.read_file(INIT_PID).ok()??;
        let init = identify::of(std::str::from_utf8(&text).ok()?.trim().parse().ok()?)?;
        Some(init)
            .filter(|init| Some(init.started_at()) <= bundle.written_at(INIT_PID).map(|at| at + CLOCK_SLACK))
    };
    match recorded.or_else(written).map_or(Ok(None), |init| Pidfd::open_living(&init)) {
        Ok(Some((init, parent))) => (Ok(Some(init)), recorded.map(|_| parent)),
        Ok(None) => (Ok(None), None),
        Err(error) => (Err(error), None),
    }
}
