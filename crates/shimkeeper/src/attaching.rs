// SPDX-License-Identifier: Apache-2.0
//! Sees to it that runtimes which are about to move a process into its control groups do not wait for the kernel: see
//! [`AttachLock`]. One thread for all of them, and only while one is expected.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use shimkeeper_shim::AttachLock;

use crate::scope::Scope;
use crate::sync::lock;

/// How often the lock is taken meanwhile. It stays ready for at least a grace period, which is longer.
const AGAIN: Duration = Duration::from_millis(8);

/// How long a runtime is expected at most: a shim that hangs must not keep a thread and the lock busy.
const PATIENCE: Duration = Duration::from_secs(1);

/// The runtimes that are expected to move a process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attaching(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    nobody: Condvar,
}

#[derive(Debug, Default)]
struct State {
    expected: usize,
    /// Since when the last of them is expected.
    since: Option<Instant>,
    /// Whether a thread sees to it.
    is_running: bool,
    /// The groups of this process cannot be used; not tried again.
    is_impossible: bool,
}

/// While it is there, a runtime is expected to move a process.
#[derive(Debug)]
pub(crate) struct Expected(Attaching);

impl State {
    fn is_long_ago(&self) -> bool {
        self.since.is_none_or(|since| since.elapsed() > PATIENCE)
    }
}

impl Attaching {
    /// One that does nothing.
    pub(crate) fn disabled() -> Self {
        let this = Self::default();
        lock(&this.0.state).is_impossible = true;
        this
    }

    /// Begins to keep the lock ready, if nobody does already. Waits for nothing.
    pub(crate) fn expect(&self, scope: &Scope) -> Expected {
        let begins = {
            let mut state = lock(&self.0.state);
            state.expected += 1;
            state.since = Some(Instant::now());
            !state.is_impossible && !std::mem::replace(&mut state.is_running, true)
        };
        if begins {
            let this = self.clone();
            if !scope.spawn_long(move || this.keep_ready()) {
                lock(&self.0.state).is_running = false;
            }
        }
        Expected(self.clone())
    }

    /// Makes the lock ready once, for a runtime that is started right now: that is for longer than one takes to start up.
    pub(crate) fn expect_soon(&self, scope: &Scope) {
        drop(self.expect(scope));
    }

    fn keep_ready(&self) {
        let mut attach = match AttachLock::of_this_thread() {
            Ok(attach) => attach,
            Err(error) => return self.give_up(&error),
        };
        loop {
            if let Err(error) = attach.make_ready() {
                return self.give_up(&error);
            }
            let state = lock(&self.0.state);
            let waited = self.0.nobody.wait_timeout_while(state, AGAIN, |state| state.expected > 0);
            let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if state.expected == 0 || state.is_long_ago() {
                state.is_running = false;
                return;
            }
        }
    }

    fn give_up(&self, error: &std::io::Error) {
        // Runtimes wait themselves then, as they would without us.
        tracing::debug!(%error, "the lock of the control groups cannot be made ready for runtimes");
        let mut state = lock(&self.0.state);
        (state.is_running, state.is_impossible) = (false, true);
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        let inner = &self.0.0;
        let mut state = lock(&inner.state);
        state.expected -= 1;
        if state.expected == 0 && state.is_running {
            inner.nobody.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_thread_keeps_it_ready_until_nobody_is_expected() {
        let (attaching, scope) = (Attaching::default(), Scope::default());
        let first = attaching.expect(&scope);
        let second = attaching.expect(&scope);
        assert_eq!(scope.tasks().len(), 1);
        drop(first);
        assert_eq!(lock(&attaching.0.state).expected, 1);
        drop(second);
        scope.start_detach();
        scope.ended().await;
        let state = lock(&attaching.0.state);
        assert!(state.expected == 0 && !state.is_running, "{state:?}");
    }

    #[tokio::test]
    async fn one_that_never_comes_is_not_waited_for() {
        let (attaching, scope) = (Attaching::default(), Scope::default());
        let hangs = attaching.expect(&scope);
        scope.start_detach();
        let ended = tokio::time::timeout(PATIENCE * 30, scope.ended()).await;
        assert!(ended.is_ok(), "its thread has ended");
        drop(hangs);
        assert_eq!(lock(&attaching.0.state).expected, 0);
    }

    #[tokio::test]
    async fn where_it_is_not_wanted_there_is_no_thread() {
        let (attaching, scope) = (Attaching::disabled(), Scope::default());
        let expected = attaching.expect(&scope);
        assert!(scope.tasks().is_empty());
        drop(expected);
    }
}
