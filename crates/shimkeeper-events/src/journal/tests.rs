// SPDX-License-Identifier: Apache-2.0
//! Nothing that was kept is lost, nothing that is missing is hidden, and no number is given twice.

use std::fs;
use std::num::NonZeroU64;
use std::path::PathBuf;

use proptest::prelude::*;
use shimkeeper_core::{Any, HasKind, Kind, Namespace};

use super::*;
use crate::topic::Topic;

const HOUR: Duration = Duration::from_hours(1);

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)
}

/// Limits no user may choose, so that small tests meet them.
fn small() -> JournalLimits {
    JournalLimits { max_bytes: 4096, segment_bytes: 512, max_age: HOUR }
}

fn event_of(number: u64, len: usize) -> Arc<Envelope> {
    let mut value = number.to_be_bytes().to_vec();
    value.resize(len.max(8), 0);
    let event = Any::new("test", value);
    Arc::new(Envelope::new(Namespace::default_namespace(), Topic::TASK_OOM, now(), event).unwrap())
}

fn batch(numbers: Range<u64>) -> Vec<Arc<Envelope>> {
    numbers.map(|number| event_of(number, 8)).collect()
}

/// A directory in memory where there is one: thousands of fsyncs are no test of ours.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// Replays and checks that every number is accounted for once; says which are events. The payload of every
/// event is the number it should have.
fn replayed(journal: &Journal, since: u64) -> Vec<u64> {
    let (mut at, mut events) = (since, Vec::new());
    for item in journal.replay(since).unwrap() {
        match item.unwrap() {
            Replayed::Event(event) => {
                at += 1;
                assert_eq!(event.sequence().map(NonZeroU64::get), Some(at));
                assert_eq!(event.event().value[..8], at.to_be_bytes());
                events.push(at);
            }
            Replayed::Gap(gap) => {
                assert_eq!(gap.from, at + 1);
                assert!(gap.to >= gap.from);
                at = gap.to;
            }
        }
    }
    assert_eq!(at, journal.last());
    events
}

fn segment_files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "events"));
    files.sort();
    files
}

#[test]
fn what_is_appended_is_replayed_also_after_reopening() {
    let dir = scratch();
    let path = dir.path().join("journal");
    let mut journal = Journal::open(&path, JournalLimits::default()).unwrap();
    assert_eq!((journal.last(), journal.append(&[], now()).unwrap()), (0, 1..1));
    let events = batch(1..4);
    assert_eq!(journal.append(&events, now()).unwrap(), 1..4);
    assert_eq!(events[2].sequence(), NonZeroU64::new(3));
    assert_eq!(replayed(&journal, 0), [1, 2, 3]);
    journal.close().unwrap();
    let mut journal = Journal::open(&path, JournalLimits::default()).unwrap();
    assert_eq!(journal.append(&batch(4..5), now()).unwrap(), 4..5);
    assert_eq!(replayed(&journal, 2), [3, 4]);
    assert_eq!(segment_files(&path).len(), 1);
    assert_eq!(journal.replay(5).unwrap_err().kind(), Kind::OutOfRange);
}

#[test]
fn an_event_reads_back_as_it_was() {
    let dir = scratch();
    let mut journal = Journal::open(&dir.path().join("journal"), JournalLimits::default()).unwrap();
    let event = event_of(1, 1 << 19);
    journal.append(std::slice::from_ref(&event), now()).unwrap();
    let Some(Ok(Replayed::Event(read))) = journal.replay(0).unwrap().next() else { panic!("no event") };
    assert_eq!(read.wire(), event.wire());
}

#[test]
fn a_replay_ends_where_it_began_and_outlives_what_is_forgotten() {
    let dir = scratch();
    let mut journal = Journal::open(&dir.path().join("journal"), small()).unwrap();
    journal.append(&batch(1..4), now()).unwrap();
    let replay = journal.replay(0).unwrap();
    journal.append(&batch(4..400), now()).unwrap();
    assert!(!replayed(&journal, 0).contains(&1));
    assert_eq!(replay.filter(|item| matches!(item, Ok(Replayed::Event(_)))).count(), 3);
}

#[test]
fn a_batch_torn_at_any_byte_is_cut_off_and_its_numbers_are_not_given_again() {
    let dir = scratch();
    let path = dir.path().join("journal");
    let mut journal = Journal::open(&path, JournalLimits::default()).unwrap();
    journal.append(&batch(1..2), now()).unwrap();
    let kept = journal.bytes();
    journal.append(&batch(2..4), now()).unwrap();
    drop(journal);
    let file = segment_files(&path).remove(0);
    let whole = fs::read(&file).unwrap();
    let record = whole.len() / 3;
    for cut in usize::try_from(kept).unwrap()..=whole.len() {
        for filler in [0, 200] {
            // A file may also have been made longer before its data was there: zeros.
            let _ = fs::remove_file(path.join("floor"));
            fs::write(&file, [&whole[..cut], &vec![0; filler]].concat()).unwrap();
            let journal = Journal::open(&path, JournalLimits::default()).unwrap();
            let opened = journal.last();
            journal.close().unwrap();
            let mut journal = Journal::open(&path, JournalLimits::default()).unwrap();
            assert_eq!(journal.last(), opened, "what was cut off is remembered");
            let expected: Vec<_> = (1..=(cut / record) as u64).collect();
            assert_eq!(replayed(&journal, 0), expected, "cut at {cut}");
            let next = journal.last() + 1;
            let partly = u64::from(cut % record > 0);
            assert!(next > expected.len() as u64 + partly);
            assert_eq!(journal.append(&batch(next..next + 1), now()).unwrap(), next..next + 1);
            drop(journal);
            let journal = Journal::open(&path, JournalLimits::default()).unwrap();
            assert_eq!(replayed(&journal, 0), [&expected[..], &[next]].concat(), "cut at {cut}");
        }
    }
}

#[test]
fn a_flipped_bit_costs_events_but_never_a_number() {
    let dir = scratch();
    let path = dir.path().join("journal");
    let mut journal = Journal::open(&path, JournalLimits::default()).unwrap();
    journal.append(&batch(1..4), now()).unwrap();
    drop(journal);
    let file = segment_files(&path).remove(0);
    let whole = fs::read(&file).unwrap();
    for byte in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[byte] ^= 1 << (byte % 8);
        let _ = fs::remove_file(path.join("floor"));
        fs::write(&file, &damaged).unwrap();
        let journal = Journal::open(&path, JournalLimits::default()).unwrap();
        assert!(journal.last() >= 3, "byte {byte}: number {} would be given again", journal.last() + 1);
        let hit = (byte / (whole.len() / 3)) as u64 + 1;
        let events = replayed(&journal, 0);
        assert!(!events.contains(&hit) && (1..hit).all(|n| events.contains(&n)), "byte {byte}: {events:?}");
    }
}

#[test]
fn damage_in_a_body_costs_that_event_alone() {
    let dir = scratch();
    let path = dir.path().join("journal");
    let mut journal = Journal::open(&path, JournalLimits::default()).unwrap();
    journal.append(&batch(1..4), now()).unwrap();
    let file = segment_files(&path).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    bytes[record::HEADER] ^= 1;
    fs::write(&file, bytes).unwrap();
    assert_eq!(replayed(&journal, 0), [2, 3]);
}

#[test]
fn the_oldest_files_go_when_there_are_too_many_bytes() {
    let dir = scratch();
    let path = dir.path().join("journal");
    let mut journal = Journal::open(&path, small()).unwrap();
    for n in 1..200 {
        journal.append(&batch(n..n + 1), now()).unwrap();
        assert!(journal.bytes() <= small().max_bytes);
    }
    let events = replayed(&journal, 0);
    assert_eq!(events.last(), Some(&199));
    assert!(journal.bytes() > small().max_bytes - 2 * small().segment_bytes, "no more than needed");
    let on_disk: u64 = segment_files(&path).iter().map(|file| fs::metadata(file).unwrap().len()).sum();
    assert_eq!(on_disk, journal.bytes());
    journal.close().unwrap();
    assert_eq!(replayed(&Journal::open(&path, small()).unwrap(), 0), events);
}

#[test]
fn what_is_too_old_is_forgotten_but_its_numbers_are_not() {
    let dir = scratch();
    let path = dir.path().join("journal");
    let mut journal = Journal::open(&path, small()).unwrap();
    journal.append(&batch(1..20), now()).unwrap();
    journal.prune(now() + HOUR).unwrap();
    assert_eq!(replayed(&journal, 0).len(), 19);
    journal.close().unwrap();
    let mut journal = Journal::open(&path, small()).unwrap();
    journal.prune(now() + HOUR + Duration::from_secs(1)).unwrap();
    assert_eq!((segment_files(&path).len(), replayed(&journal, 0).len()), (0, 0));
    journal.close().unwrap();
    let mut journal = Journal::open(&path, small()).unwrap();
    assert_eq!(journal.append(&batch(20..21), now()).unwrap(), 20..21);
    assert_eq!(replayed(&journal, 0), [20]);
}

#[test]
fn a_failed_write_is_a_gap_that_survives_and_the_next_batch_is_kept() {
    let dir = scratch();
    let path = dir.path().join("journal");
    let mut journal = Journal::open(&path, JournalLimits::default()).unwrap();
    journal.append(&batch(1..3), now()).unwrap();
    // A file that cannot be written to, in the place of the one that could.
    journal.active = Some(File::open(&segment_files(&path)[0]).unwrap());
    let lost = batch(3..5);
    let error = journal.append(&lost, now()).unwrap_err();
    assert!(matches!(error, JournalError::Append { first: 3, lost: Gap { from: 3, to: 4 }, .. }));
    assert_eq!(lost[1].sequence(), NonZeroU64::new(4), "may be delivered live, with its number");
    journal.close().unwrap();
    let mut journal = Journal::open(&path, JournalLimits::default()).unwrap();
    assert_eq!(journal.append(&batch(5..6), now()).unwrap(), 5..6);
    assert_eq!(replayed(&journal, 0), [1, 2, 5]);
}

#[test]
fn who_dies_without_closing_leaves_a_gap_for_what_nobody_knows_of() {
    let dir = scratch();
    let path = dir.path().join("journal");
    for _ in 0..2 {
        let journal = Journal::open(&path, small()).unwrap();
        assert_eq!(journal.last(), 0, "nobody has died yet");
        journal.close().unwrap();
    }
    drop(Journal::open(&path, small()).unwrap());
    let mut journal = Journal::open(&path, small()).unwrap();
    assert_eq!(journal.last(), 1, "it may have been the first that was lost");
    journal.append(&batch(2..4), now()).unwrap();
    journal.skip(2).unwrap();
    drop(journal);
    for last in 6..8 {
        let journal = Journal::open(&path, small()).unwrap();
        assert_eq!(journal.last(), last);
        let gaps: Vec<_> = journal.replay(1).unwrap().map(Result::unwrap).skip(2).collect();
        assert!(matches!(gaps[..], [Replayed::Gap(Gap { from: 4, to })] if to == last), "{gaps:?}");
    }
}

#[test]
fn a_crash_of_the_owner_takes_nothing_that_was_appended() {
    let dir = scratch();
    let path = dir.path().join("journal");
    let mut given = 0;
    for _ in 0..3 {
        let mut journal = Journal::open_unsynced(&path, small(), "this").unwrap();
        let next = journal.last() + 1;
        assert!(next <= given + 2, "a gap of one: {next} after {given}");
        given = next + 2;
        assert_eq!(journal.append(&batch(next..given + 1), now()).unwrap(), next..given + 1);
        assert!(replayed(&journal, 0).ends_with(&[next, next + 1, given]));
    }
}

#[test]
fn what_was_closed_in_another_boot_goes_on_without_a_gap() {
    let dir = scratch();
    let path = dir.path().join("journal");
    for (boot, next) in [("one", 1), ("two", 3), ("three", 5)] {
        let mut journal = Journal::open_unsynced(&path, small(), boot).unwrap();
        assert_eq!(journal.append(&batch(next..next + 2), now()).unwrap(), next..next + 2);
        journal.close().unwrap();
    }
    assert_eq!(replayed(&Journal::open(&path, small()).unwrap(), 0), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn numbers_are_reserved_before_they_are_given() {
    let dir = scratch();
    let path = dir.path().join("journal");
    let mut journal = Journal::open_unsynced(&path, JournalLimits::default(), "before").unwrap();
    for first in (1..3 * RESERVE).step_by(1000) {
        journal.append(&batch(first..first + 1000), now()).unwrap();
        assert!(journal.floor.reserve() >= journal.last());
    }
    let given = journal.last();
    drop(journal);
    for file in segment_files(&path) {
        fs::remove_file(file).unwrap();
    }
    let journal = Journal::open(&path, small()).unwrap();
    assert!(
        journal.last() > given && journal.last() <= given + RESERVE + 1,
        "{} after {given}",
        journal.last()
    );
}

#[test]
fn a_floor_of_three_slots_is_made_longer() {
    let dir = scratch();
    let path = dir.path().join("journal");
    let mut journal = Journal::open(&path, small()).unwrap();
    journal.skip(41).unwrap();
    drop(journal);
    let floor = fs::OpenOptions::new().write(true).open(path.join("floor")).unwrap();
    floor.set_len(48).unwrap();
    let journal = Journal::open_unsynced(&path, small(), "this").unwrap();
    assert_eq!(journal.last(), 42);
    assert_eq!(floor.metadata().unwrap().len(), 96);
}

#[test]
fn a_journal_is_opened_once_and_follows_nothing() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let dir = scratch();
    let path = dir.path().join("journal");
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let journal = Journal::open(&path, small()).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(matches!(Journal::open(&path, small()), Err(JournalError::Locked { .. })));
    drop(journal);

    symlink(&path, dir.path().join("link")).unwrap();
    assert!(matches!(Journal::open(&dir.path().join("link"), small()), Err(JournalError::File { .. })));
    fs::remove_file(path.join("floor")).unwrap();
    symlink("/etc/passwd", path.join("floor")).unwrap();
    assert!(matches!(Journal::open(&path, small()), Err(JournalError::File { .. })));
    fs::remove_file(path.join("floor")).unwrap();
    fs::create_dir(path.join("00000000000000000001.v1.events")).unwrap();
    assert!(Journal::open(&path, small()).is_err());
}

#[test]
fn a_full_disk_loses_what_does_not_fit_and_says_so() {
    let dir = scratch();
    let Some(disk) = SmallDisk::mount(dir.path()) else { return };
    let path = disk.0.join("journal");
    let limits = JournalLimits { max_bytes: 64 << 20, segment_bytes: 8 << 20, max_age: HOUR };
    fs::write(disk.0.join("filler"), vec![1; 512 << 10]).unwrap();
    let mut journal = Journal::open(&path, limits).unwrap();
    let big = |journal: &Journal| {
        vec![event_of(journal.last() + 1, 100_000), event_of(journal.last() + 2, 100_000)]
    };
    let error = loop {
        let events = big(&journal);
        if let Err(error) = journal.append(&events, now()) {
            break error;
        }
    };
    assert_eq!(error.kind(), Kind::ResourceExhausted, "{error:?}");
    let JournalError::Append { lost, .. } = error else { panic!("{error:?}") };
    assert_eq!(lost.to, journal.last());
    journal.close().unwrap();

    // Still full: it opens, and remembers what it gave.
    let mut journal = Journal::open(&path, limits).unwrap();
    assert_eq!(journal.last(), lost.to);
    fs::remove_file(disk.0.join("filler")).unwrap();
    let events = big(&journal);
    journal.append(&events, now()).unwrap();
    let expected: Vec<_> = (1..lost.from).chain(lost.to + 1..lost.to + 3).collect();
    assert_eq!(replayed(&journal, 0), expected);
}

/// A file system of one mebibyte, gone with the test.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Option<Self> {
        use rustix::mount::{MountFlags, mount};
        match mount("tmpfs", at, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, c"size=1m") {
            Ok(()) => Some(Self(at.to_owned())),
            Err(error) => {
                eprintln!("skipped: a small tmpfs cannot be mounted: {error}");
                None
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Append(u64),
    Fail(u64),
    Age(u64),
    Skip(u64),
    Reopen,
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..12_u64).prop_map(Step::Append),
        1 => (1..4_u64).prop_map(Step::Fail),
        1 => (0..3000_u64).prop_map(Step::Age),
        1 => (1..4_u64).prop_map(Step::Skip),
        1 => Just(Step::Reopen),
        1 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn numbers_only_grow_and_only_what_was_lost_or_forgotten_is_missing(steps in steps()) {
        let dir = scratch();
        let path = dir.path().join("journal");
        let mut journal = Journal::open(&path, small()).unwrap();
        let (mut kept, mut clock, mut given) = (Vec::new(), now(), 0);
        for step in steps {
            match step {
                Step::Append(count) => {
                    let numbers = journal.append(&batch(given + 1..given + 1 + count), clock).unwrap();
                    prop_assert_eq!(numbers, given + 1..given + 1 + count);
                    kept.extend(given + 1..=given + count);
                    given += count;
                }
                Step::Fail(count) => {
                    let before = journal.active_len();
                    journal.active = segment_files(&path).last().map(|file| File::open(file).unwrap());
                    if journal.active.is_none() || before == 0 {
                        journal.active = None;
                        continue;
                    }
                    // Fails at the first record; where the file is full, that is not this one.
                    match journal.append(&batch(given + 1..given + 1 + count), clock) {
                        Ok(_) => kept.extend(given + 1..=given + count),
                        Err(JournalError::Append { lost, .. }) => kept.extend(given + 1..lost.from),
                        Err(error) => panic!("{error}"),
                    }
                    given += count;
                }
                Step::Age(seconds) => {
                    clock += Duration::from_secs(seconds);
                    journal.prune(clock).unwrap();
                }
                Step::Skip(count) => {
                    journal.skip(count).unwrap();
                    given += count;
                }
                Step::Reopen => {
                    journal.close().unwrap();
                    journal = Journal::open(&path, small()).unwrap();
                }
                Step::Crash => {
                    drop(journal);
                    journal = Journal::open(&path, small()).unwrap();
                    given += 1;
                }
            }
            prop_assert_eq!(journal.last(), given);
            prop_assert!(journal.bytes() <= small().max_bytes);
            let events = replayed(&journal, 0);
            prop_assert!(kept.ends_with(&events), "{:?} of {:?}", events, kept);
            let since = given / 2;
            let tail: Vec<_> = events.into_iter().filter(|n| *n > since).collect();
            prop_assert_eq!(replayed(&journal, since), tail);
        }
    }
}
