// SPDX-License-Identifier: Apache-2.0
//! The accept loop with a listener whose errors are scripted.

use std::collections::VecDeque;
use std::sync::Mutex;

use tokio::io::{AsyncReadExt, DuplexStream, duplex};
use tokio::time::Instant;

use super::*;
use crate::server::ServerLimits;
use crate::sync::lock;

/// Gives what is scripted, then nothing more; notes when it was asked.
#[derive(Default)]
struct Scripted {
    next: Mutex<VecDeque<io::Result<DuplexStream>>>,
    asked: Mutex<Vec<Instant>>,
}

impl Listener for Arc<Scripted> {
    type Stream = DuplexStream;

    async fn accept(&self) -> io::Result<(DuplexStream, Option<PeerCred>)> {
        lock(&self.asked).push(Instant::now());
        let next = lock(&self.next).pop_front();
        match next {
            Some(result) => result.map(|stream| (stream, None)),
            None => std::future::pending().await,
        }
    }
}

fn server(connections: usize) -> Server {
    let limits = ServerLimits { connections, drain: Duration::ZERO, ..ServerLimits::default() };
    Server::new(limits).require_same_user(false)
}

#[tokio::test(start_paused = true)]
async fn errors_of_accepting_are_waited_out_ever_longer_and_the_next_peer_is_served() {
    let errnos = [errno::EMFILE, errno::ENFILE, errno::ENOMEM, errno::ECONNABORTED];
    let listener = Arc::new(Scripted::default());
    let (near, mut far) = duplex(64);
    {
        let mut next = lock(&listener.next);
        next.extend((0..12).map(|n| Err(io::Error::from_raw_os_error(errnos[n % errnos.len()]))));
        next.push_back(Ok(near));
    }
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(run(server(8), Arc::clone(&listener), stop.clone()));
    // A header that is none: the server hangs up, so it is there.
    tokio::io::AsyncWriteExt::write_all(&mut far, &[0xff; 10]).await.unwrap();
    assert_eq!(far.read(&mut [0]).await.unwrap(), 0);

    let asked = lock(&listener.asked).clone();
    let waits: Vec<_> = asked.windows(2).map(|pair| (pair[1] - pair[0]).as_millis()).collect();
    assert_eq!(waits[..12], [5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000, 1000, 1000]);
    stop.cancel();
    tasks.join_next().await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn at_the_limit_nothing_is_accepted_until_a_connection_ends() {
    let listener = Arc::new(Scripted::default());
    let (peers, streams): (Vec<_>, Vec<_>) = (0..3).map(|_| duplex(64)).unzip();
    lock(&listener.next).extend(streams.into_iter().map(Ok));
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(run(server(2), Arc::clone(&listener), stop.clone()));
    // With a paused clock, a sleep ends only once nothing else can go on.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(lock(&listener.asked).len(), 2);
    drop(peers);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(lock(&listener.asked).len(), 4);
    stop.cancel();
    tasks.join_next().await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn stop_ends_a_server_that_waits_out_an_error() {
    let listener = Arc::new(Scripted::default());
    lock(&listener.next).push_back(Err(io::Error::from_raw_os_error(errno::EMFILE)));
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(run(server(1), listener, stop.clone()));
    tokio::task::yield_now().await;
    stop.cancel();
    tasks.join_next().await.unwrap().unwrap();
}

/// Numbers of Linux, as the kernel gives them to a listener.
mod errno {
    use rustix::io::Errno;

    pub(super) const EMFILE: i32 = Errno::MFILE.raw_os_error();
    pub(super) const ENFILE: i32 = Errno::NFILE.raw_os_error();
    pub(super) const ENOMEM: i32 = Errno::NOMEM.raw_os_error();
    pub(super) const ECONNABORTED: i32 = Errno::CONNABORTED.raw_os_error();
}
