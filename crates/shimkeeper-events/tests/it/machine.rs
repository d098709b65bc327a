// SPDX-License-Identifier: Apache-2.0
//! A crash of the machine under a journal that is not synced: the next boot finds any part of its file.

use std::fs;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::SystemTime;

use shimkeeper_core::{Any, Namespace};
use shimkeeper_events::{Envelope, Journal, JournalLimits, Replayed, Topic};

const GIVEN: u64 = 6;

fn event() -> Arc<Envelope> {
    let event = Any::new("test", vec![0; 8]);
    Arc::new(
        Envelope::new(Namespace::default_namespace(), Topic::TASK_OOM, SystemTime::now(), event)
            .expect("a good event"),
    )
}

/// The numbers of the events that are there; the rest is told as gaps.
fn kept(journal: &Journal) -> Vec<u64> {
    let (mut at, mut events) = (0, Vec::new());
    for item in journal.replay(0).expect("a journal") {
        at = match item.expect("a readable file") {
            Replayed::Event(event) => {
                events.push(at + 1);
                event.sequence().map_or(0, NonZeroU64::get)
            }
            Replayed::Gap(gap) => gap.to,
        };
    }
    assert_eq!(at, journal.last());
    events
}

#[test]
fn takes_what_was_not_written_yet_and_gives_no_number_twice() {
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let path = dir.path().join("journal");
    let open = |boot| Journal::open_unsynced(&path, JournalLimits::default(), boot).unwrap();
    let mut journal = open("before");
    let events: Vec<_> = (0..GIVEN).map(|_| event()).collect();
    journal.append(&events, SystemTime::now()).unwrap();
    drop(journal);
    let (file, floor) = (path.join("00000000000000000001.v1.events"), path.join("floor"));
    let (whole, said) = (fs::read(&file).unwrap(), fs::read(&floor).unwrap());
    let record = whole.len() / events.len();
    for cut in 0..=whole.len() {
        // A file may also have been made longer before its data was there: zeros.
        for filler in [0, whole.len() - cut] {
            fs::write(&file, [&whole[..cut], &vec![0; filler]].concat()).unwrap();
            fs::write(&floor, &said).unwrap();
            let journal = open("after");
            assert!(kept(&journal).into_iter().eq(1..=(cut / record) as u64), "cut at {cut}");
            assert!(journal.last() > GIVEN, "given before: cut at {cut}");
        }
    }
}
