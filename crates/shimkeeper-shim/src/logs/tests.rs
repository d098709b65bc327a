// SPDX-License-Identifier: Apache-2.0
//! Writers that are slow, gone, hostile, and much too fast.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::sync::DropGuard;
use tokio_util::task::TaskTracker;

use super::*;
use crate::test_support::a_bundle;

const PATIENCE: Duration = Duration::from_secs(30);

/// Logs that are read until the guard is dropped.
fn read_logs() -> (Logs, DropGuard) {
    let (logs, stop) = (Logs::new().unwrap(), CancellationToken::new());
    TaskTracker::new().spawn(logs.clone().run(stop.clone()));
    (logs, stop.drop_guard())
}

fn writer(bundle: &Bundle) -> fs::File {
    // As a shim opens it: without a reader this would fail.
    OpenOptions::new().write(true).custom_flags(libc_nonblock()).open(bundle.dir().join(NAME)).unwrap()
}

fn libc_nonblock() -> i32 {
    i32::try_from(OFlags::NONBLOCK.bits()).unwrap()
}

/// Waits for something that the reader does.
async fn until(mut is_so: impl FnMut() -> bool) {
    let looking = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.expect("it is read");
}

#[tokio::test]
async fn lines_are_kept_across_writers_and_to_the_very_end() {
    let (_dir, bundle) = a_bundle();
    let (logs, _reading) = read_logs();
    let log = logs.open(&bundle).unwrap();
    let mode = fs::metadata(bundle.dir().join(NAME)).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o700);
    assert_eq!(log.tail().capacity(), 0);
    writer(&bundle).write_all(b"one\ntw").unwrap();
    until(|| log.counters().bytes == 6).await;
    writer(&bundle).write_all(b"o\n\x1b]0;title\x07\nno end").unwrap();
    log.end();
    assert_eq!(log.tail(), ["one", "two", "\\u{1b}]0;title\\u{7}", "no end"]);
    assert_eq!(log.counters(), LogCounters { bytes: 25, lines: 4, cut: 0, withheld: 0 });
    assert_eq!(lock(&logs.0.logs).len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_is_read_whole_and_kept_in_part() {
    let (_dir, bundle) = a_bundle();
    let (logs, _reading) = read_logs();
    let log = logs.open(&bundle).unwrap();
    let fifo = bundle.dir().join(NAME);
    // A blocking writer: it would hang here for ever if the reader did.
    let written = tokio::task::spawn_blocking(move || {
        let mut writer = OpenOptions::new().write(true).open(fifo).unwrap();
        let line = [b"x".repeat(4095).as_slice(), b"\n"].concat();
        (0..500).try_for_each(|_| writer.write_all(&line))
    });
    tokio::time::timeout(PATIENCE, written).await.expect("the writer never waits").unwrap().unwrap();
    log.end();
    let counters = log.counters();
    assert_eq!((counters.bytes, counters.lines, counters.cut), (500 * 4096, 500, 500));
    assert!(counters.withheld > 0 && counters.withheld < 500, "{counters:?}");
    assert_eq!(log.tail().len(), 16);
}

#[tokio::test]
async fn a_log_that_never_runs_dry_holds_up_neither_another_nor_the_thread() {
    let ((_dir, flooded), (_other_dir, quiet)) = (a_bundle(), a_bundle());
    let (logs, _reading) = read_logs();
    let (flood, said) = (logs.open(&flooded).unwrap(), logs.open(&quiet).unwrap());
    let is_over = Arc::new(AtomicBool::new(false));
    let mut pipe = OpenOptions::new().write(true).open(flooded.dir().join(NAME)).unwrap();
    let enough = is_over.clone();
    let flooding = std::thread::spawn(move || {
        while !enough.load(Ordering::Relaxed) {
            pipe.write_all(&[b'x'; 4096]).unwrap();
        }
    });
    until(|| flood.counters().bytes > 1 << 20).await;
    for count in 1..=3 {
        writer(&quiet).write_all(b"here\n").unwrap();
        until(|| said.counters().lines == count).await;
    }
    is_over.store(true, Ordering::Relaxed);
    tokio::task::spawn_blocking(|| flooding.join()).await.unwrap().unwrap();
}

#[tokio::test]
async fn one_that_has_ended_is_not_taken_for_the_next_with_its_descriptor() {
    let ((_dir, first), (_other_dir, second)) = (a_bundle(), a_bundle());
    let (logs, _reading) = read_logs();
    let ended = logs.open(&first).unwrap();
    // Somebody else has it open, too, as a child does until it is executed.
    let open_elsewhere = lock(&ended.0.as_ref().unwrap().page).fifo.as_ref().unwrap().try_clone().unwrap();
    writer(&first).write_all(b"first\n").unwrap();
    ended.end();
    let log = logs.open(&second).unwrap();
    writer(&first).write_all(b"too late\n").unwrap();
    writer(&second).write_all(b"second\n").unwrap();
    until(|| log.counters().lines == 1).await;
    assert_eq!((ended.tail(), log.tail()), (vec!["first".to_owned()], vec!["second".to_owned()]));
    drop((log, open_elsewhere));
    assert_eq!(lock(&logs.0.logs).len(), 0, "the last handle is enough");
}

#[tokio::test]
async fn the_fifo_of_an_adopted_shim_is_used_again() {
    let (_dir, bundle) = a_bundle();
    let (logs, _reading) = read_logs();
    drop(logs.open(&bundle).unwrap());
    let log = logs.open(&bundle).unwrap();
    writer(&bundle).write_all(b"again\n").unwrap();
    until(|| log.tail() == ["again"]).await;
}

#[tokio::test]
async fn only_a_fifo_is_opened() {
    let (dir, bundle) = a_bundle();
    let logs = Logs::new().unwrap();
    let path = bundle.dir().join(NAME);
    fs::write(&path, "").unwrap();
    assert!(matches!(logs.open(&bundle), Err(LogError::NotFifo { .. })));
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(matches!(logs.open(&bundle), Err(LogError::NotFifo { .. })));
    fs::remove_dir(&path).unwrap();
    let elsewhere = dir.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &elsewhere, FileType::Fifo, 0o700.into(), 0).unwrap();
    symlink(&elsewhere, &path).unwrap();
    assert!(matches!(logs.open(&bundle), Err(LogError::NotFifo { .. })));
}
