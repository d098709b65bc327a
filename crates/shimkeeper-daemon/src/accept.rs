// SPDX-License-Identifier: Apache-2.0
//! The accept loop of the clients' socket: never more connections than the limits, never spinning on an error, never
//! ended by one.
//!
//! ```text
//! wait for room ─▶ accept ─┬─ error ─▶ wait 5 ms … 1 s, again
//!                          ├─ too many of this user ─▶ closed at once
//!                          └─ Connection, which gives its room back when it is dropped
//! ```

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;

/// The first wait after a failed accept; doubled with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(5);
/// The longest wait after a failed accept.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Who is connected, and how many may be.
#[derive(Debug)]
pub(crate) struct Gate {
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug)]
struct State {
    most: usize,
    most_per_user: usize,
    connected: usize,
    by_user: HashMap<u32, usize>,
    refused: u64,
}

/// A place of a connection; free again when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    gate: Arc<Gate>,
    user: u32,
}

/// The limits, and the numbers of what there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) connected: usize,
    pub(crate) refused: u64,
}

impl Gate {
    pub(crate) fn new(most: usize, most_per_user: usize) -> Arc<Self> {
        let state = State { most, most_per_user, connected: 0, by_user: HashMap::new(), refused: 0 };
        Arc::new(Self { state: Mutex::new(state), freed: Notify::new() })
    }

    /// Other limits; whoever is connected stays.
    pub(crate) fn set(&self, most: usize, most_per_user: usize) {
        {
            let mut state = self.state();
            (state.most, state.most_per_user) = (most, most_per_user);
        }
        self.freed.notify_waiters();
    }

    pub(crate) fn counts(&self) -> Counts {
        let state = self.state();
        Counts { connected: state.connected, refused: state.refused }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // Nothing in here is left half changed by a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until one more may be accepted.
    async fn room(&self) {
        loop {
            // Before looking: it hears of what is freed from now on, waited for or not.
            let freed = self.freed.notified();
            {
                let state = self.state();
                if state.connected < state.most {
                    return;
                }
            }
            freed.await;
        }
    }

    fn enter(self: &Arc<Self>, user: u32) -> Option<Place> {
        let mut state = self.state();
        if state.by_user.get(&user).copied().unwrap_or(0) >= state.most_per_user {
            state.refused += 1;
            if state.refused.is_power_of_two() {
                let (most, refused) = (state.most_per_user, state.refused);
                tracing::warn!(
                    user,
                    most,
                    refused,
                    "connection closed: this user has as many as one may have"
                );
            }
            return None;
        }
        *state.by_user.entry(user).or_default() += 1;
        state.connected += 1;
        Some(Place { gate: self.clone(), user })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        {
            let mut state = self.gate.state();
            state.connected -= 1;
            if let Some(count) = state.by_user.get_mut(&self.user) {
                *count -= 1;
                if *count == 0 {
                    state.by_user.remove(&self.user);
                }
            }
        }
        self.gate.freed.notify_waiters();
    }
}

/// How long to wait after an accept that failed: out of descriptors or memory, trying again at once is spinning.
#[derive(Debug)]
pub(crate) struct BackOff(Duration);

impl Default for BackOff {
    fn default() -> Self {
        Self(FIRST_WAIT)
    }
}

impl BackOff {
    /// One was accepted.
    pub(crate) fn reset(&mut self) {
        self.0 = FIRST_WAIT;
    }

    /// Waits, twice as long each time. Cancel safe.
    pub(crate) async fn failed(&mut self, whose: &str, error: &io::Error) {
        let (error, wait): (&dyn std::error::Error, _) = (error, self.0);
        tracing::warn!(whose, error, ?wait, "cannot accept; will try again");
        self.0 = (wait * 2).min(LONGEST_WAIT);
        tokio::time::sleep(wait).await;
    }
}

/// Where connections come from. A trait, so that tests can make accepting fail.
pub(crate) trait Listener {
    /// The next connection. Cancel safe.
    fn accept(&self) -> impl Future<Output = io::Result<UnixStream>> + Send;
}

impl Listener for UnixListener {
    async fn accept(&self) -> io::Result<UnixStream> {
        Self::accept(self).await.map(|(stream, _address)| stream)
    }
}

/// The next connection there is room for, whatever is in the way. Cancel safe.
pub(crate) async fn next(listener: &impl Listener, gate: &Arc<Gate>) -> (UnixStream, Place) {
    let mut back_off = BackOff::default();
    loop {
        gate.room().await;
        match listener.accept().await {
            Ok(stream) => {
                back_off.reset();
                // Who cannot be named is counted as one user of its own.
                let user = stream.peer_cred().map_or(u32::MAX, |peer| peer.uid());
                if let Some(place) = gate.enter(user) {
                    return (stream, place);
                }
            }
            Err(error) if is_out_of_files(&error) && shimkeeper::raise_open_files() => {}
            Err(error) => back_off.failed("clients", &error).await,
        }
    }
}

fn is_out_of_files(error: &io::Error) -> bool {
    rustix::io::Errno::from_io_error(error) == Some(rustix::io::Errno::MFILE)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Has no descriptors for some time.
    struct Exhausted {
        failures: AtomicUsize,
        streams: Mutex<Vec<UnixStream>>,
    }

    impl Exhausted {
        fn new(failures: usize, streams: usize) -> (Self, Vec<UnixStream>) {
            let (ours, theirs) = (0..streams).map(|_| UnixStream::pair().unwrap()).unzip();
            (Self { failures: AtomicUsize::new(failures), streams: Mutex::new(ours) }, theirs)
        }
    }

    impl Listener for Exhausted {
        async fn accept(&self) -> io::Result<UnixStream> {
            let more = |left: usize| left.checked_sub(1);
            if self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok() {
                return Err(rustix::io::Errno::MFILE.into());
            }
            let next = self.streams.lock().unwrap().pop();
            match next {
                Some(stream) => Ok(stream),
                None => std::future::pending().await,
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_descriptors_it_waits_longer_and_longer() {
        let (listener, _theirs) = Exhausted::new(10, 1);
        let begun = tokio::time::Instant::now();
        next(&listener, &Gate::new(1, 1)).await;
        // 5 + 10 + … + 640 is eight of them, then one second each.
        assert_eq!(begun.elapsed(), Duration::from_millis(5 * 255) + Duration::from_secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn beyond_the_limit_nobody_is_accepted_until_one_leaves() {
        let (listener, _theirs) = Exhausted::new(0, 3);
        let gate = Gate::new(2, 9);
        let first = next(&listener, &gate).await;
        let _second = next(&listener, &gate).await;
        let third = tokio::time::timeout(Duration::from_mins(1), next(&listener, &gate)).await;
        assert!(third.is_err());
        assert_eq!(listener.streams.lock().unwrap().len(), 1, "it waits where it costs us nothing");
        drop(first);
        next(&listener, &gate).await;
    }

    #[tokio::test(start_paused = true)]
    async fn more_room_is_noticed_by_who_waits_for_it() {
        let (listener, _theirs) = Exhausted::new(0, 2);
        let gate = Gate::new(1, 9);
        let _first = next(&listener, &gate).await;
        let raise = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            gate.set(2, 9);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            _second = next(&listener, &gate) => {}
            () = raise => unreachable!("it never ends"),
        }
    }

    #[tokio::test]
    async fn a_user_with_too_many_is_shown_the_door() {
        let (listener, mut theirs) = Exhausted::new(0, 2);
        let gate = Gate::new(9, 1);
        let (stream, place) = next(&listener, &gate).await;
        let refused = tokio::time::timeout(Duration::from_millis(50), next(&listener, &gate)).await;
        assert!(refused.is_err());
        assert_eq!(gate.counts(), Counts { connected: 1, refused: 1 });
        // Taken from the end, so the second is the first of theirs.
        let mut byte = [0];
        let closed = tokio::io::AsyncReadExt::read(&mut theirs[0], &mut byte).await.unwrap();
        assert_eq!(closed, 0);
        drop((stream, place));
        assert_eq!(gate.counts().connected, 0);
    }
}
