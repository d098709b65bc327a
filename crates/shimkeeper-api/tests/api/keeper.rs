// SPDX-License-Identifier: Apache-2.0
//! Our own service: how shims are doing, how exits are known, and events that are resumed by their numbers.

use shimkeeper_proto::containerd::services::events::v1::PublishRequest;
use shimkeeper_proto::google::protobuf::Any;
use shimkeeper_proto::shimkeeper::v1 as keeper;
use shimkeeper_testkit::{Act, Method, Script, When};
use tonic::{Code, Streaming};

use crate::bench::{Bench, PATIENCE, ask, container};
use keeper::events_response::Item;
use keeper::exit_response::Provenance;
use keeper::keeper_client::KeeperClient;
use keeper::shim::Health;

/// The numbers and topics of events up to the first of this topic.
async fn numbered(events: &mut Streaming<keeper::EventsResponse>, last: &str) -> Vec<(u64, String)> {
    let mut seen: Vec<(u64, String)> = Vec::new();
    while seen.last().is_none_or(|(_, topic)| topic != last) {
        let next = tokio::time::timeout(PATIENCE, events.message()).await.expect("it comes in time");
        let next = next.unwrap().unwrap();
        let Some(Item::Event(event)) = next.item else { panic!("nothing is missing: {next:?}") };
        seen.push((next.sequence, event.topic));
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_resumed_by_their_numbers() {
    let bench = Bench::new().await;
    let mut keeper = KeeperClient::new(bench.api.clone());
    let request = |since| keeper::EventsRequest { filters: vec!["topic~=|^/tasks/|".into()], since };
    let mut live = keeper.events(request(None)).await.unwrap().into_inner();
    bench.running("c1", &["sleep"]).await;
    bench.end("c1").await;
    let seen = numbered(&mut live, "/tasks/delete").await;
    let topics: Vec<_> = seen.iter().map(|(_, topic)| topic.as_str()).collect();
    assert_eq!(topics, ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"]);
    assert!(seen.windows(2).all(|pair| pair[0].0 < pair[1].0), "{seen:?}");

    let again = keeper.events(request(Some(0))).await.unwrap();
    assert_eq!(numbered(&mut again.into_inner(), "/tasks/delete").await, seen);
    let rest = keeper.events(request(Some(seen[1].0))).await.unwrap();
    assert_eq!(numbered(&mut rest.into_inner(), "/tasks/delete").await, seen[2..]);
    let error = keeper.events(request(Some(u64::MAX))).await.unwrap_err();
    assert_eq!(error.code(), Code::OutOfRange, "{error}");
    // What is no task's has no place there.
    let event = Some(Any { type_url: "example.Happened".into(), value: "x".into() });
    bench.events().publish(ask(PublishRequest { topic: "/mine/happened".into(), event })).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exit_says_how_it_is_known() {
    let bench = Bench::new().await;
    let mut keeper = KeeperClient::new(bench.api.clone());
    let request = |exec: &str| ask(keeper::ExitRequest { container_id: "c1".into(), exec_id: exec.into() });
    assert_eq!(keeper.exit(request("")).await.unwrap_err().code(), Code::NotFound);
    let pid = bench.running("c1", &["exit", "3"]).await;
    bench.wait("c1", "").await.unwrap();
    let exit = keeper.exit(request("")).await.unwrap().into_inner();
    assert_eq!((exit.provenance(), exit.pid, exit.exit_status), (Provenance::Observed, pid, 3));
    assert!(exit.exited_at.is_some());
    bench.delete("c1").await.unwrap();

    bench.create("c1").await.unwrap();
    assert_eq!(keeper.exit(request("")).await.unwrap().into_inner(), keeper::ExitResponse::default());
    bench.delete("c1").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shim_that_does_not_answer_is_told_with_its_reason() {
    let bench = Bench::new().await;
    let mut keeper = KeeperClient::new(bench.api.clone());
    let mute =
        Script::new().on(Method::State, When::Before, Act::Hang).on(Method::Connect, When::Before, Act::Ok);
    bench.record(container("mute", &["sleep"], &mute)).await;
    bench.create("mute").await.unwrap();
    let pid = bench.running("c1", &["sleep"]).await;
    bench.get("mute", "").await.unwrap_err();

    let request = keeper::ShimsRequest { namespace: "ns".into() };
    let found = keeper.shims(request).await.unwrap().into_inner();
    assert!(found.unknown.is_empty());
    let [healthy, mute] = &found.shims[..] else { panic!("two shims: {found:?}") };
    assert_eq!((healthy.id.as_str(), healthy.health(), healthy.task_pid), ("c1", Health::Healthy, pid));
    assert!(healthy.pid != 0 && healthy.binary.ends_with("containerd-shim-fake-v2"), "{healthy:?}");
    assert_eq!(mute.id, "mute");
    let request = keeper::ShimsRequest { namespace: "other".into() };
    assert!(keeper.shims(request).await.unwrap().into_inner().shims.is_empty());

    let adoption = keeper.adoption(keeper::AdoptionRequest { wait: true }).await.unwrap().into_inner();
    assert_eq!((adoption.found, adoption.finished), (0, true));
    bench.sweep().await;
}
