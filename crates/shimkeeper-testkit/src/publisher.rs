// SPDX-License-Identifier: Apache-2.0
//! Takes queued events to the manager, one after another and in order, with the patience of a real shim.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use crate::Recorded;
use crate::outbox::Post;
use crate::recorder::{FORWARD, SERVICE};
use crate::wire::Caller;

/// Delivers until nobody can queue any more: to the socket, if there is one, and to `kept`. An event that cannot be
/// delivered is tried again after 1, 2, 3, 4 and 5 seconds, then dropped.
pub(crate) async fn deliver_all(
    mut queue: mpsc::UnboundedReceiver<Post>,
    to: Option<PathBuf>,
    kept: watch::Sender<Vec<Recorded>>,
) {
    let mut caller = None;
    while let Some(post) = queue.recv().await {
        match post {
            Post::Event(event) => {
                if let Some(to) = &to {
                    forward(&mut caller, to, &event.to_request()).await;
                }
                kept.send_modify(|kept| kept.push(event));
            }
            // Whoever waited may have given up.
            Post::Flush(done) => drop(done.send(())),
        }
    }
}

async fn forward(caller: &mut Option<Caller>, to: &Path, request: &Bytes) {
    const PAUSES: [u64; 5] = [1, 2, 3, 4, 5];
    let mut pauses = PAUSES.into_iter();
    while !attempt(caller, to, request).await {
        let Some(pause) = pauses.next() else { return };
        sleep(Duration::from_secs(pause)).await;
    }
}

/// One attempt, over a new connection if the one there is has gone. A refusal counts as delivered.
async fn attempt(caller: &mut Option<Caller>, to: &Path, request: &Bytes) -> bool {
    for _ in 0..2 {
        if caller.is_none() {
            *caller = Caller::dial(to).await.ok();
        }
        let Some(open) = caller else { return false };
        if open.call(SERVICE, FORWARD, request.clone()).await.is_ok() {
            return true;
        }
        *caller = None;
    }
    false
}
