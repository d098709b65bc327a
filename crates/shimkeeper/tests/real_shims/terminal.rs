// SPDX-License-Identifier: Apache-2.0
//! Containers and execs with a terminal.

use shimkeeper::{OutputPipe, ProcessIo, StdinPipe, Stdio};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::host::{Host, SOON, exec, finish, kill_and_finish, within};
use crate::output::read;

matrix! {
    real_a_task_has_a_terminal,
    real_an_exec_has_a_terminal,
    real_a_terminal_need_not_have_input,
}

/// Says that it has one, waits for a line, says how large it is.
const SCRIPT: &str = "test -t 0 && test -t 1 && test -t 2 && echo a tty; read line; echo $line; stty size";
const TERMINAL: Stdio = Stdio::Terminal { stdin: true };

async fn real_a_task_has_a_terminal(host: &Host) {
    let task = host.create("terminal", ["/bin/sh", "-c", SCRIPT], TERMINAL).await;
    task.start().await.unwrap();
    assert!(task.state().await.unwrap().terminal);
    let (io, mut seen) = begin(task.take_io().unwrap()).await;
    within(SOON, task.resize(101, 41)).await.unwrap();
    // The terminal is hung up once nobody can type.
    let _stdin = type_and_check(io, &mut seen).await;
    assert_eq!(finish(&task).await.status, 0);
}

async fn real_an_exec_has_a_terminal(host: &Host) {
    let task = host.sleeper("host-of-terminal").await;
    let process = exec(&task, "tty", ["/bin/sh", "-c", SCRIPT], TERMINAL).await;
    let (io, mut seen) = begin(process.take_io().unwrap()).await;
    within(SOON, process.resize(101, 41)).await.unwrap();
    let _stdin = type_and_check(io, &mut seen).await;
    assert_eq!(within(SOON, process.wait()).await.unwrap().status, 0);
    process.delete().await.unwrap();
    kill_and_finish(&task).await;
}

async fn real_a_terminal_need_not_have_input(host: &Host) {
    let stdio = Stdio::Terminal { stdin: false };
    let task = host.create("deaf", ["/bin/sh", "-c", "test -t 0 && echo a tty; exit 4"], stdio).await;
    let io = task.take_io().unwrap();
    assert!(io.stdin.is_none());
    task.start().await.unwrap();
    assert_eq!(read(io.stdout.unwrap()).await, b"a tty\r\n");
    assert_eq!(finish(&task).await.status, 4);
}

async fn begin(mut io: ProcessIo) -> (ProcessIo, String) {
    assert!(io.stderr.is_none(), "a terminal has one output");
    let mut seen = String::new();
    read_until(io.stdout.as_mut().unwrap(), &mut seen, "a tty\r\n").await;
    (io, seen)
}

async fn type_and_check(io: ProcessIo, seen: &mut String) -> StdinPipe {
    let (mut stdin, mut stdout) = (io.stdin.unwrap(), io.stdout.unwrap());
    stdin.write_all(b"typed\n").await.unwrap();
    // The terminal echoes what is typed, the script says it, and then the size as rows and columns.
    read_until(&mut stdout, seen, "typed\r\ntyped\r\n41 101\r\n").await;
    stdin
}

async fn read_until(output: &mut OutputPipe, seen: &mut String, end: &str) {
    let reading = async {
        let mut chunk = [0; 256];
        while !seen.ends_with(end) {
            let read = output.read(&mut chunk).await.unwrap();
            assert_ne!(read, 0, "the end, after {seen:?}");
            seen.push_str(std::str::from_utf8(&chunk[..read]).unwrap());
        }
    };
    let read = tokio::time::timeout(SOON, reading).await;
    assert!(read.is_ok(), "waited for {end:?}, saw {seen:?}");
}
