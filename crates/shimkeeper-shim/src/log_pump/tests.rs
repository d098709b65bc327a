// SPDX-License-Identifier: Apache-2.0
//! Writers that are slow, gone, hostile, and much too fast.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, symlink};

use tokio_util::task::TaskTracker;

use super::*;
use crate::test_support::a_bundle;

struct Running {
    pump: LogPump,
    stop: CancellationToken,
    tasks: TaskTracker,
}

fn run(bundle: &Bundle) -> Running {
    let (pump, driver) = LogPump::open(bundle).unwrap();
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    tasks.spawn(driver.run(stop.clone()));
    tasks.close();
    Running { pump, stop, tasks }
}

impl Running {
    async fn end(self) -> LogPump {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(10), self.tasks.wait()).await.expect("the driver ends");
        self.pump
    }
}

fn writer(bundle: &Bundle) -> fs::File {
    // As a shim opens it: without a reader this would fail.
    OpenOptions::new().write(true).custom_flags(libc_nonblock()).open(bundle.dir().join(NAME)).unwrap()
}

fn libc_nonblock() -> i32 {
    i32::try_from(OFlags::NONBLOCK.bits()).unwrap()
}

#[tokio::test]
async fn lines_are_kept_across_writers_and_to_the_very_end() {
    let (_dir, bundle) = a_bundle();
    let running = run(&bundle);
    let mode = fs::metadata(bundle.dir().join(NAME)).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o700);
    assert_eq!(running.pump.tail().capacity(), 0);
    writer(&bundle).write_all(b"one\ntw").unwrap();
    writer(&bundle).write_all(b"o\n\x1b]0;title\x07\nno end").unwrap();
    let pump = running.end().await;
    assert_eq!(pump.tail(), ["one", "two", "\\u{1b}]0;title\\u{7}", "no end"]);
    assert_eq!(pump.counters(), LogCounters { bytes: 25, lines: 4, cut: 0, withheld: 0 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_is_read_whole_and_kept_in_part() {
    let (_dir, bundle) = a_bundle();
    let running = run(&bundle);
    let fifo = bundle.dir().join(NAME);
    // A blocking writer: it would hang here for ever if the reader did.
    let written = tokio::task::spawn_blocking(move || {
        let mut writer = OpenOptions::new().write(true).open(fifo).unwrap();
        let line = [b"x".repeat(4095).as_slice(), b"\n"].concat();
        (0..500).try_for_each(|_| writer.write_all(&line))
    });
    tokio::time::timeout(Duration::from_secs(30), written)
        .await
        .expect("the writer never waits")
        .unwrap()
        .unwrap();
    let pump = running.end().await;
    let counters = pump.counters();
    assert_eq!((counters.bytes, counters.lines, counters.cut), (500 * 4096, 500, 500));
    assert!(counters.withheld > 0 && counters.withheld < 500, "{counters:?}");
    assert_eq!(pump.tail().len(), 16);
}

#[tokio::test]
async fn the_fifo_of_an_adopted_shim_is_used_again() {
    let (_dir, bundle) = a_bundle();
    drop(LogPump::open(&bundle).unwrap());
    let running = run(&bundle);
    writer(&bundle).write_all(b"again\n").unwrap();
    assert_eq!(running.end().await.tail(), ["again"]);
}

#[tokio::test]
async fn only_a_fifo_is_opened() {
    let (dir, bundle) = a_bundle();
    let log = bundle.dir().join(NAME);
    fs::write(&log, "").unwrap();
    assert!(matches!(LogPump::open(&bundle), Err(LogError::NotFifo { .. })));
    fs::remove_file(&log).unwrap();
    fs::create_dir(&log).unwrap();
    assert!(matches!(LogPump::open(&bundle), Err(LogError::NotFifo { .. })));
    fs::remove_dir(&log).unwrap();
    let elsewhere = dir.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &elsewhere, FileType::Fifo, 0o700.into(), 0).unwrap();
    symlink(&elsewhere, &log).unwrap();
    assert!(matches!(LogPump::open(&bundle), Err(LogError::NotFifo { .. })));
}

#[tokio::test(start_paused = true)]
async fn the_allowance_is_per_second() {
    let mut allowance = Allowance::full();
    for _ in 0..2 {
        let allowed = (0..250).filter(|_| allowance.take(Instant::now())).count();
        assert_eq!(allowed, 100);
        tokio::time::advance(Duration::from_secs(1)).await;
    }
}
