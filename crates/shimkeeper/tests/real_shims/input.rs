// SPDX-License-Identifier: Apache-2.0
//! What a container reads, to the end of it.

use shimkeeper::{Stdio, Task};
use tokio::io::AsyncWriteExt as _;

use crate::host::{Host, SOON, finish, kill_and_finish, within};
use crate::output::read;

matrix! {
    real_input_ends_when_the_pipe_is_dropped,
    real_input_ends_when_the_pipe_is_shut_down,
    real_input_ends_when_the_task_is_told,
    real_input_without_a_pipe_is_empty,
    real_writing_to_an_ended_task_fails,
}

const PIPES: Stdio = Stdio::Piped { stdin: true };

async fn cat(host: &Host) -> Task {
    let task = host.create("cat", ["cat"], PIPES).await;
    task.start().await.unwrap();
    task
}

/// More than the pipes on the way hold.
async fn real_input_ends_when_the_pipe_is_dropped(host: &Host) {
    let task = cat(host).await;
    let io = task.take_io().unwrap();
    let (mut stdin, text) = (io.stdin.unwrap(), "0123456789abcdef".repeat(32 << 10));
    let write = async {
        within(SOON, stdin.write_all(text.as_bytes())).await.unwrap();
        drop(stdin);
    };
    let ((), echoed) = tokio::join!(write, read(io.stdout.unwrap()));
    assert!(echoed == text.as_bytes(), "{} of {} bytes came back", echoed.len(), text.len());
    assert_eq!(finish(&task).await.status, 0);
}

async fn real_input_ends_when_the_pipe_is_shut_down(host: &Host) {
    let task = cat(host).await;
    let io = task.take_io().unwrap();
    let mut stdin = io.stdin.unwrap();
    stdin.write_all(b"typed\n").await.unwrap();
    within(SOON, stdin.shutdown()).await.unwrap();
    assert_eq!(read(io.stdout.unwrap()).await, b"typed\n");
    assert_eq!(finish(&task).await.status, 0);
    assert!(stdin.write_all(b"more").await.is_err());
}

async fn real_input_ends_when_the_task_is_told(host: &Host) {
    // Once with the pipe in our hands, once with a pipe that nobody has taken.
    let task = cat(host).await;
    let io = task.take_io().unwrap();
    let mut stdin = io.stdin.unwrap();
    stdin.write_all(b"typed\n").await.unwrap();
    task.close_stdin().await.unwrap();
    assert_eq!(read(io.stdout.unwrap()).await, b"typed\n");
    assert_eq!(finish(&task).await.status, 0);

    let task = cat(host).await;
    task.close_stdin().await.unwrap();
    assert_eq!(finish(&task).await.status, 0);
}

async fn real_input_without_a_pipe_is_empty(host: &Host) {
    let task = host.create("cat", ["cat"], Stdio::Null).await;
    task.start().await.unwrap();
    assert_eq!(finish(&task).await.status, 0);
}

async fn real_writing_to_an_ended_task_fails(host: &Host) {
    let task = host.create("deaf", ["sleep", "3600"], PIPES).await;
    task.start().await.unwrap();
    let mut stdin = task.take_io().unwrap().stdin.unwrap();
    let more_than_fits = vec![0; 1 << 20];
    let write = within(SOON, stdin.write_all(&more_than_fits));
    let (error, _) = tokio::join!(write, kill_and_finish(&task));
    assert_eq!(error.unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
}
