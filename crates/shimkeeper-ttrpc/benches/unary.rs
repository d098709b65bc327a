// SPDX-License-Identifier: Apache-2.0
//! Unary calls over a socket pair: 64 bytes there, 300 bytes back, client and server on a thread each.

use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use divan::Bencher;
use divan::counter::ItemsCount;
use shimkeeper_ttrpc::{
    Answer, CallOptions, Client, ClientLimits, Context, PeerCred, Server, ServerLimits, Service,
};
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Calls per measurement.
const CALLS: usize = 4_096;

fn main() {
    divan::main();
}

/// Answers with as much as a task's state takes.
struct State;

impl Service for State {
    fn call<'a>(&'a self, _method: &'a str, _payload: Bytes, _cx: &'a Context) -> Answer<'a> {
        static STATE: [u8; 300] = [7; 300];
        Box::pin(async { Ok(Bytes::from_static(&STATE)) })
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime starts")
}

#[divan::bench(args = [1, 16, 64])]
fn round_trip(bencher: Bencher<'_, '_>, in_flight: usize) {
    let (near, far) = std::os::unix::net::UnixStream::pair().expect("a pair");
    near.set_nonblocking(true).expect("nonblocking");
    far.set_nonblocking(true).expect("nonblocking");
    let serving = thread::spawn(move || {
        runtime().block_on(async {
            let stream = UnixStream::from_std(far).expect("a socket");
            let peer = PeerCred::of(&stream);
            let server = Server::new(ServerLimits::default()).service("bench.State", Arc::new(State));
            server.serve_stream(stream, peer, CancellationToken::new()).await
        })
    });

    let runtime = runtime();
    let client = {
        let _entered = runtime.enter();
        UnixStream::from_std(near).expect("a socket")
    };
    let (client, driver) = Client::new(client, ClientLimits::default());
    let mut tasks = JoinSet::new();
    tasks.spawn_on(driver.run(), runtime.handle());
    bencher.counter(ItemsCount::new(CALLS)).bench_local(|| runtime.block_on(call_all(&client, in_flight)));
    drop(client);
    runtime.block_on(async { while tasks.join_next().await.is_some() {} });
    serving.join().expect("the server ends with its client");
}

async fn call_all(client: &Client, in_flight: usize) {
    let mut callers = JoinSet::new();
    for _ in 0..in_flight {
        let client = client.clone();
        callers.spawn(async move {
            for _ in 0..CALLS / in_flight {
                let request = [1; 64];
                let answer =
                    client.unary_bytes("bench.State", "State", &request, &CallOptions::default()).await;
                assert_eq!(answer.expect("an answer").len(), 300);
            }
        });
    }
    while let Some(caller) = callers.join_next().await {
        caller.expect("no panic");
    }
}
