// SPDX-License-Identifier: Apache-2.0
//! What a container writes: complete, apart, to wherever it was asked for; and nobody is held up by who does not read.

use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, mkfifoat};
use shimkeeper::{OutputPipe, Status, Stdio, StdioPaths, Task};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;

use crate::host::{Host, KILL, SOON, exec, finish, kill_and_finish, within};

matrix! {
    real_the_two_outputs_are_apart,
    real_a_mebibyte_is_complete,
    real_output_is_complete_though_it_is_read_late,
    real_output_goes_to_a_file,
    real_a_file_for_one_output_is_one_for_both,
    real_output_goes_to_fifos_of_the_callers,
    real_unread_output_does_not_hold_up_a_delete,
}

const PIPES: Stdio = Stdio::Piped { stdin: false };

pub(crate) async fn read(mut pipe: OutputPipe) -> Vec<u8> {
    let mut bytes = Vec::new();
    within(SOON, pipe.read_to_end(&mut bytes)).await.unwrap();
    bytes
}

async fn real_the_two_outputs_are_apart(host: &Host) {
    let task = host.shell("apart", "echo to out; echo to err >&2", PIPES).await;
    let io = task.take_io().unwrap();
    assert!(task.take_io().is_none() && io.stdin.is_none());
    assert_eq!(read(io.stdout.unwrap()).await, b"to out\n");
    assert_eq!(read(io.stderr.unwrap()).await, b"to err\n");
    finish(&task).await;
}

/// A mebibyte of zeros to both, alternating.
const MEBIBYTES: &str = "exec 3>&2; for i in $(seq 64); do \
    dd if=/dev/zero bs=16k count=1 2>/dev/null; dd if=/dev/zero bs=16k count=1 2>/dev/null 1>&3; done";

async fn real_a_mebibyte_is_complete(host: &Host) {
    let task = host.shell("mebibyte", MEBIBYTES, PIPES).await;
    let io = task.take_io().unwrap();
    let (out, err) = tokio::join!(read(io.stdout.unwrap()), read(io.stderr.unwrap()));
    assert_eq!((out.len(), err.len()), (1 << 20, 1 << 20));
    assert_eq!(finish(&task).await.status, 0);
}

async fn real_output_is_complete_though_it_is_read_late(host: &Host) {
    let task = host.shell("late", "dd if=/dev/zero bs=60k count=1 2>/dev/null; echo end >&2", PIPES).await;
    let io = task.take_io().unwrap();
    finish(&task).await;
    host.assert_gone(&task);
    assert!(task.take_io().is_none());
    assert_eq!(read(io.stdout.unwrap()).await.len(), 60 << 10);
    assert_eq!(read(io.stderr.unwrap()).await, b"end\n");
}

async fn real_output_goes_to_a_file(host: &Host) {
    let path = host.dirs.path().join("output");
    std::fs::write(&path, "before\n").unwrap();
    let task = host.shell("file", "echo out; echo err >&2", Stdio::File(path.clone())).await;
    assert!(task.take_io().is_none());
    finish(&task).await;
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.remove(0), "before", "it is appended to");
    lines.sort_unstable();
    assert_eq!(lines, ["err", "out"]);
}

async fn real_a_file_for_one_output_is_one_for_both(host: &Host) {
    let task = host.sleeper("half").await;
    let file = host.dirs.path().join("half.out");
    let stdout = format!("file://{}", file.display());
    let paths = Stdio::Paths(StdioPaths { stdout, ..StdioPaths::default() });
    // It goes on, because a shim that has one descriptor for both closes it when the first output ends.
    let script = "echo out; echo err >&2; exec sleep 3600";
    let process = exec(&task, "one", ["/bin/sh", "-c", script], paths).await;
    let both_are_there = async {
        while !std::fs::read_to_string(&file)
            .is_ok_and(|text| text.contains("out\n") && text.contains("err\n"))
        {
            tokio::task::yield_now().await;
        }
    };
    within(SOON, both_are_there).await;
    process.kill(9).await.unwrap();
    within(SOON, process.wait()).await.unwrap();
    process.delete().await.unwrap();
    assert_eq!(task.state().await.unwrap().status, Status::Running, "its shim is there");
    kill_and_finish(&task).await;
}

async fn real_output_goes_to_fifos_of_the_callers(host: &Host) {
    let fifo = |name: &str| {
        let path = host.dirs.path().join(name);
        mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
        let receiver = pipe::OpenOptions::new().open_receiver(&path).unwrap();
        (path.to_str().unwrap().to_owned(), receiver)
    };
    let ((stdout, mut out), (stderr, mut err)) = (fifo("out"), fifo("err"));
    let paths = StdioPaths { stdout, stderr, ..StdioPaths::default() };
    let task = host.shell("fifos", "echo out; echo err >&2", Stdio::Paths(paths)).await;
    assert!(task.take_io().is_none());
    for (receiver, expected) in [(&mut out, "out\n"), (&mut err, "err\n")] {
        let mut text = String::new();
        within(SOON, receiver.read_to_string(&mut text)).await.unwrap();
        assert_eq!(text, expected);
    }
    finish(&task).await;
}

async fn real_unread_output_does_not_hold_up_a_delete(host: &Host) {
    // Held and not read, dropped, never taken.
    for (id, is_taken, is_held) in [("held", true, true), ("dropped", true, false), ("untaken", false, true)]
    {
        let task = host.create(id, ["/bin/sh", "-c", "yes & exec yes >&2"], PIPES).await;
        let mut io = if is_taken { task.take_io() } else { None };
        task.start().await.unwrap();
        if is_held {
            wait_until_stuck(&task).await;
        } else {
            io = None;
        }
        task.kill(KILL, false).await.unwrap();
        let exit = within(SOON, task.wait()).await.unwrap();
        assert_eq!(exit.status, 137);
        let began = Instant::now();
        within(SOON, task.delete()).await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(5), "{id}: {:?}", began.elapsed());
        if let Some(io) = io {
            let text = read(io.stdout.unwrap()).await;
            assert!(text.len() >= 64 << 10 && text.starts_with(b"y\ny\n"), "{} bytes", text.len());
        }
    }
}

/// Waits until the container's `yes` has filled every pipe before it: it then writes no more.
async fn wait_until_stuck(task: &Task) {
    let pid = task.pid().unwrap();
    let written = || {
        let io = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
        let line = io.lines().find_map(|line| line.strip_prefix("wchar: ")).unwrap();
        line.parse::<u64>().unwrap()
    };
    let stuck = async {
        let mut before = 0;
        loop {
            // Measures that nothing happens, so it takes a while by its nature.
            tokio::time::sleep(Duration::from_millis(100)).await;
            let now = written();
            if now == before && now > 64 << 10 {
                return;
            }
            before = now;
        }
    };
    within(SOON, stuck).await;
}
