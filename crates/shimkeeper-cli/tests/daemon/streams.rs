// SPDX-License-Identifier: Apache-2.0
//! Ten thousand subscriptions that hear nothing, on ten connections: the daemon stays small, and whoever wants
//! something is served.

use std::time::{Duration, Instant};

use shimkeeper_client::Session;
use shimkeeper_proto::containerd::services::events::v1::events_client::EventsClient;
use shimkeeper_proto::containerd::services::events::v1::{PublishRequest, SubscribeRequest};
use shimkeeper_proto::containerd::types::Envelope;
use shimkeeper_proto::google::protobuf::Any;
use tokio::task::JoinSet;
use tonic::Streaming;

use crate::crowd::{memory, serves};
use crate::support::{Daemon, PATIENCE, until};

const CONNECTIONS: usize = 10;
const EACH: usize = 1000;
/// What all of them may take, in KiB: less than 16 for each, of which most is the stream's and little the subscription's.
const MOST_MORE: u64 = 160 << 10;
/// Events that only the one who listens wants.
const EVENTS: usize = 100;

async fn subscribe(session: &Session, filter: &str) -> Streaming<Envelope> {
    let request = SubscribeRequest { filters: vec![filter.to_owned()] };
    EventsClient::new(session.clone()).subscribe(request).await.unwrap().into_inner()
}

/// A connection full of subscriptions.
async fn crowd(session: Session) -> Vec<Streaming<Envelope>> {
    let mut idle = Vec::with_capacity(EACH);
    for _ in 0..EACH {
        idle.push(subscribe(&session, "topic==nothing").await);
    }
    idle
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_idle_subscriptions_are_no_burden() {
    let daemon = Daemon::start();
    let before = memory(&daemon);
    let mut crowds = JoinSet::new();
    for _ in 0..CONNECTIONS {
        crowds.spawn(crowd(Session::open(&daemon.address()).await.unwrap()));
    }
    let idle: Vec<_> = crowds.join_all().await.into_iter().flatten().collect();
    assert_eq!(idle.len(), CONNECTIONS * EACH);
    let more = memory(&daemon).saturating_sub(before);
    assert!(more < MOST_MORE, "{more} KiB more than before");

    let honest = Session::open(&daemon.address()).await.unwrap().within("ns");
    let mut listener = subscribe(&honest, "topic~=^/mine/").await;
    let mut client = EventsClient::new(honest);
    let begun = Instant::now();
    for _ in 0..EVENTS {
        let event = Some(Any { type_url: "example.Happened".into(), value: "x".into() });
        client.publish(PublishRequest { topic: "/mine/happened".into(), event }).await.unwrap();
    }
    for _ in 0..EVENTS {
        let heard = tokio::time::timeout(PATIENCE, listener.message()).await.expect("an event comes in time");
        assert_eq!(heard.unwrap().unwrap().topic, "/mine/happened");
    }
    assert!(begun.elapsed() < PATIENCE, "others are not held up: {:?}", begun.elapsed());
    assert!(serves(&daemon));

    // With their connections they are gone.
    drop(idle);
    let descriptors = format!("/proc/{}/fd", daemon.pid());
    until("the end of connections", || (std::fs::read_dir(&descriptors).unwrap().count() < 64).then_some(()));
    tokio::time::timeout(
        Duration::from_secs(30),
        subscribe(&Session::open(&daemon.address()).await.unwrap(), ""),
    )
    .await
    .expect("there is room again");
}
