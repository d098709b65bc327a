// SPDX-License-Identifier: Apache-2.0
//! `shimkeeper events`: what happens in a daemon, as it happens; with `--since`, task events by their numbers.

mod payload;

use serde::Serialize;
use serde_json::Value;
use shimkeeper_core::Kind;
use shimkeeper_proto::containerd::services::events::v1::SubscribeRequest;
use shimkeeper_proto::containerd::types::Envelope;
use shimkeeper_proto::shimkeeper::v1::events_response::Item;
use shimkeeper_proto::shimkeeper::v1::{EventsRequest, Missing};
use shimkeeper_proto::type_name;
use tonic::Streaming;

use super::args::watch::EventsArgs;
use super::print;
use super::server::{Server, ask, refused};
use crate::failure::{Failure, say};
use crate::output::Output;

/// ```json
/// {"schema":"shimkeeper.event/1","sequence":7,"at":"…","namespace":"default","topic":"/tasks/exit",
///  "type":"containerd.events.TaskExit","event":{"container_id":"web","id":"web","pid":4711,"exit_status":0,"exited_at":"…"}}
/// ```
#[derive(Debug, Serialize)]
struct Event<'a> {
    /// Only with `--since`, and only of events that are kept.
    sequence: Option<u64>,
    at: Option<String>,
    namespace: &'a str,
    topic: &'a str,
    r#type: &'a str,
    /// Null for a type that is not known here.
    #[serde(rename = "event")]
    payload: Value,
}

/// Events that cannot be had, in place of them.
#[derive(Debug, Serialize)]
struct Gap {
    from: u64,
    to: u64,
}

pub(super) async fn events(args: &EventsArgs) -> Result<u8, Failure> {
    let server = Server::connect(&args.server, None).await?;
    let filters = filters(args);
    let output = args.server.output;
    match args.since {
        None => {
            let request = SubscribeRequest { filters };
            let stream = ask("subscribe to events", server.events().subscribe(request)).await?;
            each(stream, |event| tell(output, None, &event)).await
        }
        Some(since) => {
            let request = EventsRequest { filters, since: Some(since) };
            let stream = ask("ask for the events that are kept", server.keeper().events(request)).await?;
            each(stream, |answer| match answer.item {
                Some(Item::Event(event)) => {
                    tell(output, Some(answer.sequence).filter(|number| *number != 0), &event)
                }
                Some(Item::Missing(missing)) => tell_missing(output, missing),
                None => Ok(true),
            })
            .await
        }
    }
}

/// Tells each, until there is nobody to tell.
async fn each<T>(
    mut stream: Streaming<T>,
    mut tell: impl FnMut(T) -> Result<bool, Failure>,
) -> Result<u8, Failure> {
    loop {
        match stream.message().await {
            Ok(Some(one)) => {
                if !tell(one)? {
                    return Ok(0);
                }
            }
            Ok(None) => {
                let hint = "the daemon may be shutting down; --since goes on after a number";
                return Err(Failure::new(
                    Kind::Unavailable,
                    "the daemon has ended the stream of events",
                    hint,
                ));
            }
            Err(status) => return Err(refused("read events", &status)),
        }
    }
}

/// Filters are alternatives; the namespace is a condition of every one.
fn filters(args: &EventsArgs) -> Vec<String> {
    let Some(namespace) = &args.namespace else { return args.filter.clone() };
    let within = format!("namespace==\"{namespace}\"");
    if args.filter.is_empty() {
        return vec![within];
    }
    args.filter.iter().map(|filter| format!("{within},{filter}")).collect()
}

fn tell(output: Output, sequence: Option<u64>, envelope: &Envelope) -> Result<bool, Failure> {
    let any = envelope.event.as_ref();
    let event = Event {
        sequence,
        at: print::at(envelope.timestamp.as_ref()),
        namespace: &envelope.namespace,
        topic: &envelope.topic,
        r#type: any.map_or("", type_name),
        payload: any.map_or(Value::Null, payload::decode),
    };
    print::write(&match output {
        Output::Json => print::json("shimkeeper.event/1", &event),
        Output::Text => event.text(),
    })
}

fn tell_missing(output: Output, Missing { from, to }: Missing) -> Result<bool, Failure> {
    match output {
        Output::Json => print::write(&print::json("shimkeeper.missing/1", &Gap { from, to })),
        Output::Text => {
            say(
                &format!("events {from} to {to} cannot be had"),
                Some("what is there now, `shimkeeper ps -a` shows"),
            );
            Ok(true)
        }
    }
}

impl Event<'_> {
    fn text(&self) -> String {
        let number = self.sequence.map(|number| format!("{number} ")).unwrap_or_default();
        let at = self.at.as_deref().unwrap_or("-");
        let line = format!("{number}{at} {} {} {}", self.namespace, self.topic, self.payload);
        print::plain(&line) + "\n"
    }
}
