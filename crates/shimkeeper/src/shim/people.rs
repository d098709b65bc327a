// SPDX-License-Identifier: Apache-2.0
//! The processes of a task that can be named for certain: its shim, its init, its execs, and what is in its control
//! group. Whoever is killed or waited for is one of these.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use shimkeeper_core::{ExecId, ProcessKey};
use shimkeeper_shim::{Cgroup, Pidfd, ProcessIdentity};

use super::{Shim, lock};
use crate::health::HealthState;
use crate::machine::State;
use crate::rare::Rare;

/// The processes we can name for certain.
#[derive(Default)]
pub(super) struct People {
    shim: Option<ProcessIdentity>,
    shim_is_foreign: bool,
    init: Option<Arc<Pidfd>>,
    execs: Rare<BTreeMap<ExecId, Arc<Pidfd>>>,
    /// The container's own control group.
    cgroup: Option<Cgroup>,
    /// The one that is on record of a container that was found, until it is asked whether it can be that.
    recorded: Option<Cgroup>,
    /// Whom we have sent SIGKILL ourselves.
    killed: Rare<BTreeSet<ProcessKey>>,
}

impl People {
    /// Who is never in a container's own control group.
    fn strangers(&self) -> Vec<u32> {
        self.shim.map(|shim| shim.pid).into_iter().chain([std::process::id()]).collect()
    }
}

impl Shim {
    pub(crate) fn identity(&self) -> Option<ProcessIdentity> {
        lock(&self.people).shim
    }

    pub(crate) fn set_identity(&self, identity: Option<ProcessIdentity>) {
        let mut people = lock(&self.people);
        (people.shim, people.shim_is_foreign) = (identity, false);
        drop(people);
        if let (Some(identity), Some(seat)) = (identity, self.seat()) {
            seat.note_shim(identity);
        }
    }

    /// The shim's process was not launched here: its death still proves the shim's, but nobody here ends it.
    pub(crate) fn set_foreign(&self, identity: ProcessIdentity) {
        let mut people = lock(&self.people);
        (people.shim, people.shim_is_foreign) = (Some(identity), true);
    }

    /// Whether the shim's processes were launched here, and may be ended here.
    pub(crate) fn is_ours(&self) -> bool {
        !lock(&self.people).shim_is_foreign
    }

    /// Holds on to the container's init, so that its death can be proven and its status read after.
    pub(crate) fn hold_init(&self, pidfd: Option<Pidfd>) {
        let strangers = lock(&self.people).strangers();
        let cgroup = pidfd.as_ref().and_then(|init| Cgroup::of(init, &strangers));
        let mut people = lock(&self.people);
        people.init = pidfd.map(Arc::new);
        if cgroup.is_some() {
            (people.cgroup, people.recorded) = (cgroup, None);
        }
    }

    pub(crate) fn init_identity(&self) -> Option<ProcessIdentity> {
        lock(&self.people).init.as_ref().map(|pidfd| *pidfd.identity())
    }

    /// The descriptor of a process, where there is one.
    pub(crate) fn held(&self, process: &ProcessKey) -> Option<Arc<Pidfd>> {
        let people = lock(&self.people);
        match process {
            ProcessKey::Init => people.init.clone(),
            ProcessKey::Exec(id) => people.execs.get().and_then(|execs| execs.get(id)).cloned(),
        }
    }

    /// The container's own control group, where one is known.
    pub(crate) fn cgroup(&self) -> Option<Cgroup> {
        self.check_cgroup();
        lock(&self.people).cgroup.clone()
    }

    /// Holds on to an init that was found, as [`Shim::hold_init`]. Its control group is found out by
    /// [`Shim::check_cgroup`], because no verdict needs it.
    pub(crate) fn hold_found(&self, init: Option<Pidfd>, recorded: Option<Cgroup>) {
        let strangers = lock(&self.people).strangers();
        let cgroup = match (&init, &recorded) {
            (Some(init), None) => Cgroup::of(init, &strangers),
            _ => None,
        };
        let mut people = lock(&self.people);
        (people.init, people.cgroup, people.recorded) = (init.map(Arc::new), cgroup, recorded);
    }

    /// Finds out which control group is that of a container that was found, unless that is known: the one on record, as
    /// long as it can be the container's own and the init, if there is one, is in it.
    pub(crate) fn check_cgroup(&self) {
        let mut people = lock(&self.people);
        let Some(recorded) = people.recorded.take() else { return };
        let strangers = people.strangers();
        let init = people.init.clone();
        let recorded = recorded.private_pids(&strangers).map(|pids| (pids, recorded));
        let has_init = |pids: &[u32]| init.as_ref().is_none_or(|init| pids.contains(&init.identity().pid));
        people.cgroup = match recorded {
            Some((pids, cgroup)) if has_init(&pids) => Some(cgroup),
            recorded => {
                let its_own = init.and_then(|init| Cgroup::of(&init, &strangers));
                its_own.or(recorded.map(|(_, cgroup)| cgroup))
            }
        };
    }

    pub(crate) fn note_killed(&self, process: &ProcessKey) {
        lock(&self.people).killed.make().insert(process.clone());
    }

    pub(crate) fn was_killed(&self, process: &ProcessKey) -> bool {
        lock(&self.people).killed.get().is_some_and(|killed| killed.contains(process))
    }

    /// Whether the shim cannot tell of its processes, and nobody is about to find out.
    pub(crate) fn is_mute(&self) -> bool {
        self.vitals.state() == HealthState::Stuck || self.state.get() == State::Quarantined
    }

    pub(crate) fn hold_exec(&self, id: &ExecId, pidfd: Option<Pidfd>) {
        if let Some(pidfd) = pidfd {
            lock(&self.people).execs.make().insert(id.clone(), Arc::new(pidfd));
        }
    }

    pub(crate) fn release_exec(&self, id: &ExecId) {
        let mut people = lock(&self.people);
        if let Some(execs) = people.execs.get_mut() {
            execs.remove(id);
        }
        if let Some(killed) = people.killed.get_mut() {
            killed.remove(&ProcessKey::Exec(id.clone()));
        }
    }
}
