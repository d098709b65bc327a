// SPDX-License-Identifier: Apache-2.0
//! When events are kept: together, unless somebody waits.

use shimkeeper_core::{ProcessKey, TaskKey};
use tokio::time::{Instant, sleep};

use super::*;

/// Less than events wait for one another.
const SOON: Duration = Duration::from_millis(10);

struct Kept {
    _dir: tempfile::TempDir,
    journaling: Arc<Journaling>,
    scope: Scope,
}

impl Kept {
    /// A journal that is open, with one event in it.
    async fn open() -> Self {
        let dir = tempfile::Builder::new().prefix("shimkeeper-").tempdir().unwrap();
        let (journaling, scope) =
            (Journaling::new(dir.path(), JournalLimits::default(), None), Scope::default());
        scope.spawn_last(journaling.clone().run(scope.clone()));
        let kept = Self { _dir: dir, journaling, scope };
        kept.take(1);
        assert!(kept.journaling.settled().await);
        kept
    }

    fn take(&self, pid: u32) {
        let key = TaskKey::parse("ns", "a").unwrap();
        self.journaling.take(&Arc::new(Envelope::process_started(&key, &ProcessKey::Init, pid)));
    }

    async fn leave(self) {
        self.scope.start_detach();
        self.scope.ended().await;
    }
}

#[tokio::test(start_paused = true)]
async fn events_that_nobody_waits_for_are_kept_together() {
    let kept = Kept::open().await;
    let mut settled = kept.journaling.settled.subscribe();
    settled.mark_unchanged();
    for pid in 2..5 {
        kept.take(pid);
        sleep(SOON).await;
    }
    settled.changed().await.unwrap();
    assert_eq!(*settled.borrow(), 4, "all at once, and though nobody has asked");
    kept.leave().await;
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_waits_for_no_other_event() {
    let kept = Kept::open().await;
    let began = Instant::now();
    kept.take(2);
    sleep(SOON).await;
    assert!(kept.journaling.settled().await);
    assert_eq!(began.elapsed(), SOON);
    kept.leave().await;
}

#[tokio::test(start_paused = true)]
async fn whoever_has_time_waits_for_others_unless_the_manager_leaves() {
    let kept = Kept::open().await;
    let began = Instant::now();
    kept.take(2);
    assert!(kept.journaling.settled_in_time(kept.scope.detach_token()).await);
    assert_eq!(began.elapsed(), GATHER);

    let began = Instant::now();
    kept.take(3);
    let leaving = async {
        sleep(SOON).await;
        kept.scope.start_detach();
    };
    let settled = kept.journaling.settled_in_time(kept.scope.detach_token());
    assert!(tokio::join!(settled, leaving).0);
    assert_eq!(began.elapsed(), SOON);
    kept.leave().await;
}

#[tokio::test(start_paused = true)]
async fn whoever_reads_is_shown_each_event_at_once() {
    let kept = Kept::open().await;
    let (_, mut tail) = kept.journaling.read(None).unwrap();
    let began = Instant::now();
    for pid in 2..4 {
        kept.take(pid);
        tail.next().await.unwrap().unwrap();
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
    kept.leave().await;
}

#[tokio::test(start_paused = true)]
async fn many_events_wait_for_no_others() {
    let kept = Kept::open().await;
    let mut settled = kept.journaling.settled.subscribe();
    settled.mark_unchanged();
    let began = Instant::now();
    let many = 5000;
    for pid in 2..2 + many {
        kept.take(pid);
    }
    settled.changed().await.unwrap();
    assert_eq!((began.elapsed(), *settled.borrow()), (Duration::ZERO, 1 + u64::from(many)));
    kept.leave().await;
}
