// SPDX-License-Identifier: Apache-2.0
//! The last state a shim told of each process, good until anything is heard that may have changed it.
//!
//! Whatever the ledger takes in, an event of any kind or an answer, may have: so all is forgotten then, and the next
//! who asks asks the shim. An answer that was on its way meanwhile is not kept.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use shimkeeper_core::{ExecId, ProcessKey};

use crate::rare::Rare;
use crate::state::{ProcessState, Status};

/// What one shim told. Owned by the ledger of its task.
#[derive(Debug, Default)]
pub(crate) struct Memo(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    stirred: u64,
    /// Most tasks have no other process.
    init: Rare<ProcessState>,
    execs: Rare<BTreeMap<ExecId, ProcessState>>,
}

/// The moment before a question, which tells whether its answer may be kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asking(u64);

impl Memo {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        // A panic cannot leave it half-changed: every critical section is one step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something was heard; answers the moment after.
    pub(crate) fn stir(&self) -> Asking {
        let mut kept = self.lock();
        kept.stirred += 1;
        kept.init.take();
        kept.execs.take();
        Asking(kept.stirred)
    }

    /// The state, if nothing was heard since it was told.
    pub(crate) fn get(&self, process: &ProcessKey) -> Option<ProcessState> {
        let kept = self.lock();
        match process {
            ProcessKey::Init => kept.init.get().cloned(),
            ProcessKey::Exec(id) => kept.execs.get().and_then(|execs| execs.get(id)).cloned(),
        }
    }

    /// The shim is about to be asked.
    pub(crate) fn ask(&self) -> Asking {
        Asking(self.lock().stirred)
    }

    /// Keeps the answer, unless something was heard in the meantime, or it will change by itself.
    pub(crate) fn keep(&self, asking: Asking, process: &ProcessKey, state: &ProcessState) {
        let lasts =
            matches!(state.status, Status::Created | Status::Running | Status::Paused | Status::Stopped);
        let mut kept = self.lock();
        if !lasts || kept.stirred != asking.0 {
            return;
        }
        match process {
            ProcessKey::Init => kept.init = Rare::of(state.clone()),
            ProcessKey::Exec(id) => {
                kept.execs.make().insert(id.clone(), state.clone());
            }
        }
    }

    /// As [`Memo::stir`], where it is this very answer that was heard, which is kept then.
    pub(crate) fn stir_but_keep(&self, asking: Asking, process: &ProcessKey, state: &ProcessState) {
        let after = self.stir();
        if after.0 == asking.0 + 1 {
            self.keep(after, process, state);
        }
    }
}

#[cfg(test)]
mod tests {
    use shimkeeper_proto::containerd::task::v3::StateResponse;

    use super::*;

    fn state(status: i32) -> ProcessState {
        ProcessState::new(StateResponse { status, ..StateResponse::default() }, None)
    }

    #[test]
    fn a_state_is_good_until_something_is_heard() {
        let memo = Memo::default();
        let running = state(2);
        memo.keep(memo.ask(), &ProcessKey::Init, &running);
        assert_eq!(memo.get(&ProcessKey::Init), Some(running.clone()));
        memo.stir();
        assert_eq!(memo.get(&ProcessKey::Init), None);

        let asking = memo.ask();
        memo.stir();
        memo.keep(asking, &ProcessKey::Init, &running);
        assert_eq!(memo.get(&ProcessKey::Init), None, "it may be older than what was heard");
    }

    #[test]
    fn what_was_heard_is_kept_if_it_was_all_that_was() {
        let memo = Memo::default();
        let (running, paused) = (state(2), state(4));
        memo.keep(memo.ask(), &ProcessKey::Init, &paused);
        memo.stir_but_keep(memo.ask(), &ProcessKey::Init, &running);
        assert_eq!(memo.get(&ProcessKey::Init), Some(running.clone()));

        let asking = memo.ask();
        memo.stir();
        memo.stir_but_keep(asking, &ProcessKey::Init, &running);
        assert_eq!(memo.get(&ProcessKey::Init), None, "it may be older than what was heard before");
    }

    #[test]
    fn what_will_change_by_itself_is_not_kept() {
        let memo = Memo::default();
        for passing in [0, 5] {
            memo.keep(memo.ask(), &ProcessKey::Init, &state(passing));
            assert_eq!(memo.get(&ProcessKey::Init), None);
        }
    }
}
