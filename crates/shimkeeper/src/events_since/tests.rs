// SPDX-License-Identifier: Apache-2.0
//! Every number is accounted for once, whatever becomes of the disk, the reader or the manager.

use std::num::NonZeroU64;
use std::path::Path;
use std::time::{Duration, SystemTime};

use shimkeeper_core::{Exit, ProcessKey, Provenance, TaskKey};
use shimkeeper_events::{JournalLimits, Limits};

use super::*;
use crate::scope::Scope;

const PATIENCE: Duration = Duration::from_secs(30);

fn scratch() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("shimkeeper-").tempdir().unwrap()
}

/// A journal and the scope that keeps it.
struct Kept {
    journaling: Arc<Journaling>,
    scope: Scope,
}

impl Kept {
    fn open(root: &Path) -> Self {
        let (journaling, scope) = (Journaling::new(root, JournalLimits::default(), None), Scope::default());
        scope.spawn_last(journaling.clone().run(scope.clone()));
        Self { journaling, scope }
    }

    /// Takes events for processes with these pids.
    fn take(&self, pids: std::ops::Range<u32>) {
        for pid in pids {
            let key = TaskKey::parse("ns", if pid.is_multiple_of(2) { "even" } else { "odd" }).unwrap();
            self.journaling.take(&Arc::new(Envelope::process_started(&key, &ProcessKey::Init, pid)));
        }
    }

    async fn settled(&self) {
        assert!(self.journaling.settled().await);
    }

    async fn read(&self, filter: &str, since: Option<u64>) -> EventsSince {
        let filters = Filters::parse([filter]).unwrap();
        EventsSince::begin(&self.journaling, filters, since).await.unwrap()
    }

    async fn leave(self) {
        self.scope.start_detach();
        self.scope.ended().await;
    }
}

/// What comes next, as numbers: an event's, or a gap's first and last.
async fn next(events: &mut EventsSince) -> Option<(u64, u64)> {
    let item = tokio::time::timeout(PATIENCE, events.next()).await.expect("something comes");
    item.unwrap().map(|item| match item {
        Replayed::Event(event) => {
            let number = event.sequence().map(NonZeroU64::get).expect("it is kept");
            (number, number)
        }
        Replayed::Gap(gap) => (gap.from, gap.to),
    })
}

async fn some<const N: usize>(events: &mut EventsSince) -> [(u64, u64); N] {
    let mut all = [(0, 0); N];
    for one in &mut all {
        *one = next(events).await.expect("there is more");
    }
    all
}

#[tokio::test]
async fn what_was_kept_is_followed_by_what_comes() {
    let dir = scratch();
    let kept = Kept::open(dir.path());
    kept.take(0..2);
    kept.settled().await;
    let mut all = kept.read("", Some(0)).await;
    let (mut later, mut fresh) = (kept.read("", Some(1)).await, kept.read("", None).await);
    kept.take(2..4);
    assert_eq!(some(&mut all).await, [(1, 1), (2, 2), (3, 3), (4, 4)]);
    assert_eq!(some(&mut later).await, [(2, 2), (3, 3), (4, 4)]);
    assert_eq!((fresh.position(), some(&mut fresh).await), (2, [(3, 3), (4, 4)]));
    kept.leave().await;
    assert_eq!((next(&mut all).await, all.position()), (None, 4));

    let kept = Kept::open(dir.path());
    let mut resumed = kept.read("", Some(all.position())).await;
    kept.take(4..5);
    assert_eq!(next(&mut resumed).await, Some((5, 5)), "no gap over an orderly leave");
    kept.leave().await;
}

#[tokio::test]
async fn an_end_that_was_kept_before_a_restart_is_not_kept_again() {
    let dir = scratch();
    let take = |kept: &Kept, pid: u32| {
        let key = TaskKey::parse("ns", "a").unwrap();
        let exit = Exit { pid, status: 0, at: SystemTime::now(), provenance: Provenance::Observed };
        kept.journaling.take(&Arc::new(Envelope::task_exit(&key, &ProcessKey::Init, &exit)));
    };
    let kept = Kept::open(dir.path());
    take(&kept, 7);
    kept.leave().await;

    // Killed, it could not note that the first had been told.
    let kept = Kept::open(dir.path());
    take(&kept, 7);
    take(&kept, 8);
    kept.settled().await;
    let mut events = kept.read("", Some(0)).await;
    assert_eq!(some(&mut events).await, [(1, 1), (2, 2)]);
    // Told of once, it is no longer looked for: a process id comes back in the end.
    take(&kept, 7);
    assert_eq!(next(&mut events).await, Some((3, 3)));
    kept.leave().await;
}

#[tokio::test]
async fn what_filters_leave_out_is_no_gap_and_not_asked_for_again() {
    let dir = scratch();
    let kept = Kept::open(dir.path());
    kept.take(1..4);
    kept.settled().await;
    let mut even = kept.read("event.container_id==even", Some(0)).await;
    assert_eq!((next(&mut even).await, even.position()), (Some((2, 2)), 3));
    kept.take(5..7);
    assert_eq!((next(&mut even).await, even.position()), (Some((5, 5)), 5));
    kept.leave().await;
}

#[tokio::test]
async fn who_reads_slowly_reads_from_disk_and_misses_nothing() {
    let dir = scratch();
    let kept = Kept::open(dir.path());
    let mut slow = kept.read("", None).await;
    let many = u32::try_from(Limits::default().events).unwrap() * 2;
    for from in (0..many).step_by(1024) {
        kept.take(from..from + 1024);
        kept.settled().await;
    }
    for number in 1..=u64::from(many) {
        assert_eq!(next(&mut slow).await, Some((number, number)));
    }
    kept.take(0..1);
    assert_eq!(next(&mut slow).await, Some((u64::from(many) + 1, u64::from(many) + 1)), "and is live again");
    kept.leave().await;
}

#[tokio::test]
async fn a_dropped_wait_loses_nothing() {
    let dir = scratch();
    let kept = Kept::open(dir.path());
    kept.take(0..300);
    kept.settled().await;
    let mut events = kept.read("", Some(0)).await;
    for number in 1..=300 {
        loop {
            // Polled once and dropped, again and again.
            let polled = tokio::select! { biased; item = next(&mut events) => item, () = tokio::task::yield_now() => None };
            if let Some(item) = polled {
                assert_eq!(item, (number, number));
                break;
            }
        }
    }
    kept.leave().await;
}

#[tokio::test]
async fn what_a_journal_that_cannot_be_opened_misses_is_a_gap() {
    let dir = scratch();
    let root = dir.path().join("not there yet");
    let kept = Kept::open(&root);
    kept.take(0..3);
    kept.settled().await;
    let error = EventsSince::begin(&kept.journaling, Filters::everything(), None).await.unwrap_err();
    assert_eq!(error.kind(), shimkeeper_core::Kind::Unavailable, "{error}");
    std::fs::create_dir(&root).unwrap();
    kept.take(3..4);
    kept.settled().await;
    let mut events = kept.read("", Some(0)).await;
    assert_eq!(some(&mut events).await, [(1, 3), (4, 4)]);
    kept.leave().await;
}

#[tokio::test]
async fn a_number_of_another_journal_is_refused() {
    let dir = scratch();
    let kept = Kept::open(dir.path());
    let error = EventsSince::begin(&kept.journaling, Filters::everything(), Some(7)).await.unwrap_err();
    assert_eq!(error.kind(), shimkeeper_core::Kind::OutOfRange, "{error}");
    kept.leave().await;
}
