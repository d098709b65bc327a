// SPDX-License-Identifier: Apache-2.0
//! Streams that end, are slow, break or stay open too long.

use std::io::{Read, Write};

use tokio::io::duplex;

use super::*;

struct Pump {
    over: CancellationToken,
    lost: mpsc::UnboundedReceiver<Lost>,
    running: tokio::task::JoinSet<()>,
}

fn pump(pipe: impl AsyncRead + Unpin + Send + 'static, output: impl Into<OwnedFd>) -> Pump {
    let over = CancellationToken::new();
    let (sender, lost) = mpsc::unbounded_channel();
    let mut running = tokio::task::JoinSet::new();
    running.spawn(pump_output(pipe, output.into(), over.clone(), sender));
    Pump { over, lost, running }
}

#[tokio::test]
async fn everything_is_copied_to_the_end() {
    let (mut reader, writer) = io::pipe().unwrap();
    let (mut container, pipe) = duplex(1000);
    let mut pump = pump(pipe, writer);
    let expected: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
    let sent = expected.clone();
    // More than a pipe holds: the copy has to wait for a reader that begins late.
    let writing = async move {
        container.write_all(&sent).await.unwrap();
    };
    let reading = tokio::task::spawn_blocking(move || {
        let mut copied = Vec::new();
        reader.read_to_end(&mut copied).map(|_| copied)
    });
    writing.await;
    pump.over.cancel();
    while pump.running.join_next().await.is_some() {}
    assert_eq!(reading.await.unwrap().unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_process_that_left_its_output_open_is_not_waited_for_for_ever() {
    let (_reader, writer) = io::pipe().unwrap();
    let (_container, pipe) = duplex(100);
    let mut pump = pump(pipe, writer);
    let before = Instant::now();
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert!(pump.running.try_join_next().is_none(), "silence means nothing while it runs");
    pump.over.cancel();
    pump.running.join_next().await.unwrap().unwrap();
    assert_eq!(before.elapsed(), Duration::from_secs(65));
}

#[tokio::test]
async fn a_reader_that_is_gone_is_reported_and_the_rest_discarded() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let (mut container, pipe) = duplex(100);
    let mut pump = pump(pipe, writer);
    container.write_all(b"x").await.unwrap();
    assert_eq!(pump.lost.recv().await, Some(Lost::Now(Errno::PIPE)));
    container.write_all(&[0; 10_000]).await.unwrap();
    tokio::time::pause();
    tokio::time::advance(GRACE).await;
    container.write_all(b"x").await.unwrap();
    assert_eq!(pump.lost.recv().await, Some(Lost::Still));
    container.write_all(b"x").await.unwrap();
    drop(container);
    assert_eq!(pump.lost.recv().await, None, "it is told once, and the pump ends");
}

#[tokio::test]
async fn input_is_handed_on_with_its_end() {
    let (reader, mut writer) = io::pipe().unwrap();
    let input = read_in_background(reader.into()).unwrap();
    let (mut container, pipe) = duplex(10);
    let mut running = tokio::task::JoinSet::new();
    running.spawn(pump_input(input, pipe, None));
    let sent = vec![7; 100_000];
    let written = sent.clone();
    let writing = tokio::task::spawn_blocking(move || writer.write_all(&written));
    let mut received = Vec::new();
    container.read_to_end(&mut received).await.unwrap();
    writing.await.unwrap().unwrap();
    assert_eq!(received, sent);
}

#[tokio::test]
async fn streams_that_do_not_block_are_waited_for() {
    let (reader, writer) = io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&reader, true).unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    let mut input = read_in_background(reader.into()).unwrap();
    let writer = Arc::new(OwnedFd::from(writer));
    // Much more than the pipe holds, so both sides have to wait.
    let sent = vec![3; 1 << 20];
    let receiving = async {
        let mut received = 0;
        while received < 1 << 20 {
            received += input.recv().await.unwrap().len();
        }
        received
    };
    let ((_, result), received) = tokio::join!(write_in_background(&writer, sent, 1 << 20), receiving);
    result.unwrap();
    assert_eq!(received, 1 << 20);
}
