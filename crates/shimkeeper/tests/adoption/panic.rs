// SPDX-License-Identifier: Apache-2.0
//! A panic over one bundle costs the others nothing, and itself only the second look.

use std::sync::atomic::{AtomicUsize, Ordering};

use shimkeeper::{Manager, Verdict};
use shimkeeper_testkit::TestDirs;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber, subscriber};

use super::keeper::{config, create, key};
use super::{clear, within};

/// Whose record is damaged, so that something is said of it.
const UNLUCKY: &str = "unlucky";

static PANICS: AtomicUsize = AtomicUsize::new(0);

/// Whoever listens to the log, and panics at the first word of one task.
struct Trap;

impl Subscriber for Trap {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() == tracing::Level::WARN
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut is_trap = IsTrap(false);
        event.record(&mut is_trap);
        assert!(!is_trap.0 || PANICS.fetch_add(1, Ordering::SeqCst) > 0, "as it was meant to");
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

struct IsTrap(bool);

impl Visit for IsTrap {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0 |= field.name() == "task" && format!("{value:?}") == UNLUCKY;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_over_one_bundle_is_its_own() {
    let dirs = TestDirs::new();
    let manager = Manager::open(config(&dirs)).await.unwrap();
    let unlucky = create(&manager, UNLUCKY, ["sleep"]).await;
    let other = create(&manager, "z", ["sleep"]).await;
    unlucky.start().await.unwrap();
    other.start().await.unwrap();
    let record = unlucky.bundle().join("shimkeeper.json");
    manager.detach().await;
    std::fs::write(record, "{").unwrap();
    subscriber::set_global_default(Trap).unwrap();

    let manager = Manager::open(config(&dirs)).await.unwrap();
    let adoption = within("adoption", manager.adopted()).await;
    assert!(PANICS.load(Ordering::SeqCst) > 0);
    for id in [UNLUCKY, "z"] {
        assert_eq!(adoption.verdict(&key(id)), Some(&Verdict::Adopted), "{id}");
    }
    let task = manager.get(&key(UNLUCKY)).unwrap();
    task.kill(9, true).await.unwrap();
    within("the exit", task.wait()).await.unwrap();
    within("the deletion", task.delete()).await.unwrap();
    let task = manager.get(&key("z")).unwrap();
    clear(manager, &dirs, &task).await;
}
