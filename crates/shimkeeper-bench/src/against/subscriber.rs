// SPDX-License-Identifier: Apache-2.0
//! Somebody who listens to a daemon's events, on a connection of its own, and is known to listen before anything is
//! measured: some daemons say nothing until there is an event, so there are some that mean nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use shimkeeper_proto::containerd::types::Envelope;
use shimkeeper_proto::google::protobuf::Any;
use tokio::task::JoinSet;

use crate::against::client::{CALL, Client};
use crate::against::error::AgainstError;
use crate::against::side::{LOOK, Side};
use crate::error::BenchError;

/// The topic of events that mean nothing.
const PING: &str = "/bench/ping";

/// A subscriber; it leaves when dropped.
#[derive(Debug)]
pub(crate) struct Subscriber {
    listening: JoinSet<Result<(), AgainstError>>,
    has_heard: Arc<AtomicBool>,
}

impl Subscriber {
    /// Whatever is published after this goes to `on`.
    pub(crate) async fn open(
        side: &Side,
        on: impl FnMut(Envelope) + Send + 'static,
    ) -> Result<Self, AgainstError> {
        let client = Client::connect(&side.daemon.address()).await?;
        let has_heard = Arc::new(AtomicBool::new(false));
        let mut listening = JoinSet::new();
        listening.spawn(listen(client, has_heard.clone(), on));
        let mut this = Self { listening, has_heard };
        let deadline = Instant::now() + CALL;
        while !this.has_heard.load(Ordering::Relaxed) {
            this.check()?;
            if Instant::now() >= deadline {
                return Err(AgainstError::Late { call: "Events.Subscribe" });
            }
            side.client.publish(PING, Any::default()).await?;
            tokio::time::sleep(LOOK).await;
        }
        Ok(this)
    }

    /// Whether it is still there.
    pub(crate) fn check(&mut self) -> Result<(), AgainstError> {
        match self.listening.try_join_next() {
            None => Ok(()),
            Some(Ok(Err(error))) => Err(error),
            Some(_) => Err(BenchError::Panicked.into()),
        }
    }
}

async fn listen(
    client: Client,
    has_heard: Arc<AtomicBool>,
    mut on: impl FnMut(Envelope),
) -> Result<(), AgainstError> {
    let refused = |status| AgainstError::Refused { call: "Events.Subscribe", status };
    let mut events = client.subscribe().await?;
    while let Some(event) = events.message().await.map_err(refused)? {
        if event.topic == PING {
            has_heard.store(true, Ordering::Relaxed);
        } else {
            on(event);
        }
    }
    Err(AgainstError::Unexpected("the events ended".to_owned()))
}
