// SPDX-License-Identifier: Apache-2.0
//! A subscriber that resumes after every restart where it was, by the numbers of events, and counts exits.

use std::collections::BTreeMap;
use std::path::PathBuf;

use shimkeeper_proto::containerd::events::TaskExit;
use shimkeeper_proto::shimkeeper::v1::events_response::Item;
use shimkeeper_proto::shimkeeper::v1::keeper_client::KeeperClient;
use shimkeeper_proto::shimkeeper::v1::{EventsRequest, EventsResponse};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::adding::{Ran, dial};
use crate::support::{Daemon, PATIENCE};

/// How often each process was told to have ended.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard {
    exits: BTreeMap<Ran, usize>,
    position: u64,
}

pub(super) struct Listener {
    heard: watch::Receiver<Heard>,
    listening: JoinSet<()>,
}

impl Listener {
    /// Listens from the first event on that is kept.
    pub(super) fn begin(daemon: &Daemon) -> Self {
        let (tell, heard) = watch::channel(Heard::default());
        let mut listening = JoinSet::new();
        listening.spawn(listen(daemon.address(), tell));
        Self { heard, listening }
    }

    /// What was heard, once it has all of these.
    pub(super) async fn until_all(mut self, processes: &[Ran]) -> Heard {
        let all = |heard: &Heard| processes.iter().all(|process| heard.exits.contains_key(process));
        let heard = tokio::time::timeout(PATIENCE, self.heard.wait_for(all)).await;
        let heard = heard.map(|heard| heard.expect("it listens").clone());
        // In time or not: what is missing is told by the one who looks.
        let heard = heard.unwrap_or_else(|_| self.heard.borrow().clone());
        self.listening.shutdown().await;
        heard
    }
}

impl Heard {
    fn take(&mut self, response: EventsResponse) {
        assert!(response.position >= self.position, "{} after {}", response.position, self.position);
        self.position = response.position;
        match response.item {
            Some(Item::Event(event)) => {
                let event = event.event.unwrap();
                let Some(exit) = shimkeeper_proto::unpack::<TaskExit>(&event) else { return };
                let exit = exit.unwrap();
                *self.exits.entry((exit.container_id, exit.id, exit.pid)).or_default() += 1;
            }
            // The number of an event that a killed daemon had not kept yet. An exit is told by the next one then.
            Some(Item::Missing(_)) => {}
            None => panic!("nothing at {}", response.position),
        }
    }

    /// Each of these ended once, nothing ended twice, and none of the containers at all.
    pub(super) fn each_once(&self, processes: &[Ran], containers: &[String]) {
        let missing: Vec<_> = processes.iter().filter(|ran| !self.exits.contains_key(ran)).collect();
        assert!(missing.is_empty(), "no exit of {missing:?}, up to number {}", self.position);
        let twice: Vec<_> = self.exits.iter().filter(|(_, count)| **count != 1).collect();
        assert!(twice.is_empty(), "more than one exit of {twice:?}");
        let ended = self.exits.keys().find(|(container, id, _)| container == id && containers.contains(id));
        assert!(ended.is_none(), "{ended:?} was not asked to end");
    }
}

/// Never ends by itself: what it says is the last thing that was heard.
async fn listen(socket: PathBuf, tell: watch::Sender<Heard>) {
    loop {
        let mut client = KeeperClient::new(dial(&socket).await);
        let since = tell.borrow().position;
        let request = EventsRequest { filters: Vec::new(), since: Some(since) };
        // A daemon that goes takes the call, or the stream, with it.
        let Ok(events) = client.events(request).await else { continue };
        let mut events = events.into_inner();
        while let Ok(Some(response)) = events.message().await {
            tell.send_modify(|heard| heard.take(response));
        }
    }
}
