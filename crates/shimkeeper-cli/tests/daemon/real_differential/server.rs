// SPDX-License-Identifier: Apache-2.0
//! What a daemon says of itself, what it makes of calls that are none, and events of clients.

use std::time::SystemTime;

use shimkeeper_core::time;
use shimkeeper_proto::containerd::services::containers::v1 as containers;
use shimkeeper_proto::containerd::services::containers::v1::containers_client::ContainersClient;
use shimkeeper_proto::containerd::services::events::v1 as events;
use shimkeeper_proto::containerd::services::events::v1::events_client::EventsClient;
use shimkeeper_proto::containerd::services::introspection::v1 as introspection;
use shimkeeper_proto::containerd::services::introspection::v1::introspection_client::IntrospectionClient;
use shimkeeper_proto::containerd::services::tasks::v1 as tasks;
use shimkeeper_proto::containerd::services::tasks::v1::tasks_client::TasksClient;
use shimkeeper_proto::containerd::types::Envelope;
use shimkeeper_proto::google::protobuf::{Any, Empty, Timestamp};
use shimkeeper_proto::grpc::health::v1 as health;
use tonic::{Request, Response};

use super::transcript::Transcript;

pub(super) async fn play(script: &mut Transcript) {
    itself(script).await;
    no_namespace(script).await;
    of_clients(script).await;
}

async fn itself(script: &mut Transcript) {
    let mut itself = IntrospectionClient::new(script.outside.clone());
    script.note("introspection: server", itself.server(Empty::default())).await;
    let filters = vec!["type==io.containerd.runtime.v2".to_owned()];
    script.note("introspection: runtimes", itself.plugins(introspection::PluginsRequest { filters })).await;
    let filters = vec!["type===x".to_owned()];
    script.note("introspection: bad filter", itself.plugins(introspection::PluginsRequest { filters })).await;
    let unknown = introspection::PluginInfoRequest { r#type: "x".into(), id: "y".into(), options: None };
    script.note("introspection: unknown plugin", itself.plugin_info(unknown)).await;
    let mut health = health::health_client::HealthClient::new(script.outside.clone());
    script.note("health: the server", health.check(health::HealthCheckRequest::default())).await;
    let unknown = health::HealthCheckRequest { service: "x".into() };
    script.note("health: unknown service", health.check(unknown)).await;
}

async fn no_namespace(script: &mut Transcript) {
    let mut outside = ContainersClient::new(script.outside.clone());
    let get = || containers::GetContainerRequest { id: "c1".into() };
    script.note("no namespace: containers get", outside.get(get())).await;
    let mut outside = TasksClient::new(script.outside.clone());
    script.note("no namespace: tasks list", outside.list(tasks::ListTasksRequest::default())).await;
    script.note("no namespace: tasks metrics", outside.metrics(tasks::MetricsRequest::default())).await;
    for (what, name) in [("bad", "a b"), ("too long", &*"n".repeat(77))] {
        let mut odd = ContainersClient::new(script.outside.within(name));
        script.note(&format!("{what} namespace: containers get"), odd.get(get())).await;
    }
}

async fn of_clients(script: &mut Transcript) {
    let mut client = EventsClient::new(script.session.clone());
    let event = || Some(Any { type_url: "example.Happened".into(), value: "x".into() });
    let publish = |topic: &str| events::PublishRequest { topic: topic.into(), event: event() };
    script.expect("", &["/mine/happened"]);
    script.note("events: publish", client.publish(publish("/mine/happened"))).await;
    for (what, topic) in
        [("no topic", ""), ("a bad topic", "mine"), ("an odd topic", "/a b/c"), ("half a topic", "/a/")]
    {
        script.note(&format!("events: publish with {what}"), client.publish(publish(topic))).await;
    }
    let mut outside = EventsClient::new(script.outside.clone());
    script.note("events: publish outside", outside.publish(publish("/mine/happened"))).await;
    let (seconds, nanos) = time::to_parts(SystemTime::now());
    let envelope = Envelope {
        timestamp: Some(Timestamp { seconds, nanos }),
        namespace: script.namespace.clone(),
        topic: "/mine/forwarded".into(),
        event: event(),
    };
    let forward = |envelope| events::ForwardRequest { envelope };
    script.expect("", &["/mine/forwarded"]);
    script.note("events: forward", client.forward(forward(Some(envelope.clone())))).await;
    let bad = Envelope { topic: "mine".into(), ..envelope.clone() };
    script.note("events: forward with a bad topic", client.forward(forward(Some(bad)))).await;
    let bad = Envelope { namespace: String::new(), ..envelope };
    script.note("events: forward without a namespace", client.forward(forward(Some(bad)))).await;
    for (what, filter) in [("operator", "topic===x"), ("value", "topic==/tasks/exit")] {
        let filters = vec![filter.to_owned()];
        let refused = async {
            // Go's server refuses a stream only with its first message.
            let stream = client.subscribe(Request::new(events::SubscribeRequest { filters })).await?;
            stream.into_inner().message().await.map(|_| Response::new("taken"))
        };
        script.note(&format!("events: subscribe with a bad {what}"), refused).await;
    }
}
