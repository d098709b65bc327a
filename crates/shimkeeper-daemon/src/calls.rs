// SPDX-License-Identifier: Apache-2.0
//! What happens around every call, whatever it is: it is counted, bounded, and waited for at the end.
//!
//! A call is in flight until its answer has been sent. One that by its nature has no end (waiting, subscribing) is
//! counted on its connection like every other, but nobody waits for it when the daemon stops.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::{Body, Frame, SizeHint};
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::spans;

/// What all connections have in common.
#[derive(Clone, Debug)]
pub(crate) struct Calls {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// How many with an end are in flight.
    brief: AtomicUsize,
    /// How often that was another number: each call counts twice.
    moves: AtomicU64,
    /// There are some where there were none, or the other way round.
    turned: Notify,
    most_per_connection: AtomicUsize,
}

/// The calls of one connection.
#[derive(Debug)]
pub(crate) struct Line {
    calls: Calls,
    in_flight: Arc<AtomicUsize>,
}

/// A call, until it is dropped.
#[derive(Debug)]
pub(crate) struct InFlight {
    calls: Calls,
    of_line: Arc<AtomicUsize>,
    is_brief: bool,
}

/// As many calls are in flight on this connection as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full {
    pub(crate) most: usize,
}

/// An answer; with its last part its call is over.
#[derive(Debug)]
pub(crate) struct Answer<B> {
    body: B,
    _call: Option<InFlight>,
    span: Option<spans::Request>,
}

impl Calls {
    pub(crate) fn new(most_per_connection: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                brief: AtomicUsize::new(0),
                moves: AtomicU64::new(0),
                turned: Notify::new(),
                most_per_connection: AtomicUsize::new(most_per_connection),
            }),
        }
    }

    /// From now on as many at a time on one connection.
    pub(crate) fn set_most_per_connection(&self, most: usize) {
        self.shared.most_per_connection.store(most, Ordering::Relaxed);
    }

    /// Waits until every call that has an end has come to it. Cancel safe.
    pub(crate) async fn idle(&self) {
        self.until(|| self.brief() == 0).await;
    }

    /// Waits until something is called, and then until nothing has been called for a while. Cancel safe.
    pub(crate) async fn quiet_again(&self, for_so_long: Duration) {
        let mut moves = self.moves();
        self.until(|| self.moves() != moves).await;
        while self.moves() != moves || self.brief() > 0 {
            // Not woken by each call: looks back after the time.
            moves = self.moves();
            sleep(for_so_long).await;
        }
    }

    /// How many with an end are in flight.
    pub(crate) fn brief(&self) -> usize {
        self.shared.brief.load(Ordering::Relaxed)
    }

    fn moves(&self) -> u64 {
        self.shared.moves.load(Ordering::Relaxed)
    }

    async fn until(&self, is_so: impl Fn() -> bool) {
        loop {
            // It hears of every turn from here on.
            let turned = self.shared.turned.notified();
            if is_so() {
                return;
            }
            turned.await;
        }
    }

    /// For a new connection.
    pub(crate) fn line(&self) -> Line {
        Line { calls: self.clone(), in_flight: Arc::default() }
    }
}

impl Shared {
    fn begun(&self) {
        self.moves.fetch_add(1, Ordering::Relaxed);
        if self.brief.fetch_add(1, Ordering::Relaxed) == 0 {
            self.turned.notify_waiters();
        }
    }

    fn ended(&self) {
        self.moves.fetch_add(1, Ordering::Relaxed);
        if self.brief.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.turned.notify_waiters();
        }
    }
}

impl Line {
    /// How many calls it may have at a time.
    pub(crate) fn most(&self) -> usize {
        self.calls.shared.most_per_connection.load(Ordering::Relaxed)
    }

    /// One more call, of this method.
    pub(crate) fn begin(&self, path: &str) -> Result<InFlight, Full> {
        let most = self.most();
        let room = |calls: usize| (calls < most).then_some(calls + 1);
        self.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).map_err(|_| Full { most })?;
        let is_brief = has_end(path);
        if is_brief {
            self.calls.shared.begun();
        }
        Ok(InFlight { calls: self.calls.clone(), of_line: self.in_flight.clone(), is_brief })
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.of_line.fetch_sub(1, Ordering::Relaxed);
        if self.is_brief {
            self.calls.shared.ended();
        }
    }
}

/// Whether a method comes to its end by itself.
pub(crate) fn has_end(path: &str) -> bool {
    !matches!(path.rsplit('/').next(), Some("Wait" | "Subscribe" | "Watch" | "Follow"))
}

impl<B> Answer<B> {
    pub(crate) fn new(body: B, call: Option<InFlight>, span: Option<spans::Request>) -> Self {
        Self { body, _call: call, span }
    }
}

impl<B: Body + Unpin> Body for Answer<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(trailers) = frame.trailers_ref()
            && let Some(span) = &mut self.span
        {
            span.told(trailers);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: &str = "/containerd.services.tasks.v1.Tasks/Wait";
    const KILL: &str = "/containerd.services.tasks.v1.Tasks/Kill";

    #[tokio::test]
    async fn the_end_waits_for_what_has_one() {
        let calls = Calls::new(9);
        let line = calls.line();
        let _waits = line.begin(WAIT).unwrap();
        calls.idle().await;
        let kills = line.begin(KILL).unwrap();
        assert_eq!(calls.brief(), 1);
        let mut idle = std::pin::pin!(calls.idle());
        tokio::select! {
            biased;
            () = &mut idle => panic!("one is in flight"),
            () = std::future::ready(()) => {}
        }
        drop(kills);
        idle.await;
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_quiet_again_a_while_after_the_last_call() {
        let calls = Calls::new(9);
        let line = calls.line();
        let second = Duration::from_secs(1);
        let begun = tokio::time::Instant::now();
        let work = async {
            for _ in 0..5 {
                let _call = line.begin(KILL).unwrap();
                sleep(second).await;
            }
        };
        tokio::join!(calls.quiet_again(second * 3), work);
        // The last call ended after five seconds; it is looked for every three.
        assert_eq!(begun.elapsed(), second * 9);
        let idle = tokio::time::timeout(second * 3600, calls.quiet_again(second * 3)).await;
        assert!(idle.is_err(), "nothing was called");
    }

    #[test]
    fn a_connection_has_so_many_and_no_more() {
        let calls = Calls::new(2);
        let line = calls.line();
        let first = line.begin(WAIT).unwrap();
        let _second = line.begin(KILL).unwrap();
        assert_eq!(line.begin(KILL).unwrap_err(), Full { most: 2 });
        let _other = calls.line().begin(KILL).unwrap();
        drop(first);
        let _third = line.begin(KILL).unwrap();
        calls.set_most_per_connection(3);
        let _fourth = line.begin(KILL).unwrap();
    }
}
