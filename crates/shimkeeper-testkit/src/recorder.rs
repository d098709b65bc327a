// SPDX-License-Identifier: Apache-2.0
//! The events endpoint of a manager that keeps what it is told: the far end of a shim's `TTRPC_ADDRESS`.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use prost::{Message, Name};
use shimkeeper_core::{Any, time};
use shimkeeper_proto::containerd::services::events::ttrpc::v1::ForwardRequest;
use shimkeeper_proto::containerd::types::Envelope;
use shimkeeper_proto::google::protobuf;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::model::Failure;
use crate::wire::{self, Answer, Answering, Halt, Handler, Metadata};

pub(crate) const SERVICE: &str = "containerd.services.events.ttrpc.v1.Events";
pub(crate) const FORWARD: &str = "Forward";

/// An event as it was forwarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The namespace it is for.
    pub namespace: String,
    /// Its topic.
    pub topic: String,
    /// When the shim says it happened.
    pub at: Option<SystemTime>,
    /// Its payload.
    pub event: Any,
}

/// What was waited for did not come.
#[derive(Clone, Debug, thiserror::Error)]
#[error("not seen within {waited:?}; what came: {}", Topics(.seen))]
pub struct NotSeen {
    /// How long it was waited for.
    pub waited: Duration,
    /// What came instead.
    pub seen: Vec<Recorded>,
}

/// Records the events that shims forward to a socket.
#[derive(Debug)]
pub struct EventRecorder {
    path: PathBuf,
    seen: Arc<watch::Sender<Vec<Recorded>>>,
    halt: Halt,
}

impl EventRecorder {
    /// Listens at `path`, which must not exist yet. Needs a tokio runtime.
    pub fn bind(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        let listener = UnixListener::bind(&path)?;
        let (seen, _) = watch::channel(Vec::new());
        let recorder = Self { path, seen: Arc::new(seen), halt: Halt::default() };
        let handler = Arc::new(Endpoint(Arc::clone(&recorder.seen)));
        let (halt, tracker) = (recorder.halt.clone(), TaskTracker::new());
        recorder.halt.listeners.spawn(async move {
            loop {
                let accepted = tokio::select! {
                    () = halt.dead.cancelled() => return,
                    accepted = listener.accept() => accepted,
                };
                if let Ok((stream, _)) = accepted {
                    let handler = Arc::clone(&handler);
                    tracker.spawn(wire::serve(stream, handler, tracker.clone(), halt.clone()));
                }
            }
        });
        Ok(recorder)
    }

    /// The socket: the value of `TTRPC_ADDRESS`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What has come so far.
    pub fn recorded(&self) -> Vec<Recorded> {
        self.seen.borrow().clone()
    }

    /// Waits until `enough` of all that has come, and returns it.
    ///
    /// # Errors
    /// [`NotSeen`] after `deadline`, with what has come.
    ///
    /// # Cancel safety
    /// Nothing is taken away by waiting.
    pub async fn wait_for(
        &self,
        deadline: Duration,
        mut enough: impl FnMut(&[Recorded]) -> bool,
    ) -> Result<Vec<Recorded>, NotSeen> {
        let mut seen = self.seen.subscribe();
        // The sender is ours, so the only other end of this is the deadline.
        if let Ok(Ok(seen)) = timeout(deadline, seen.wait_for(|seen| enough(seen))).await {
            return Ok(seen.clone());
        }
        Err(NotSeen { waited: deadline, seen: self.recorded() })
    }

    /// Waits until `topics` have come, in this order, whatever came between them.
    ///
    /// # Errors
    /// As [`EventRecorder::wait_for`].
    ///
    /// # Cancel safety
    /// Nothing is taken away by waiting.
    pub async fn wait_for_topics(
        &self,
        deadline: Duration,
        topics: &[&str],
    ) -> Result<Vec<Recorded>, NotSeen> {
        let in_order = |seen: &[Recorded]| {
            let mut seen = seen.iter();
            topics.iter().all(|topic| seen.any(|event| event.topic == *topic))
        };
        self.wait_for(deadline, in_order).await
    }
}

impl Drop for EventRecorder {
    fn drop(&mut self) {
        self.halt.listeners.close();
        self.halt.dead.cancel();
        // It may have been removed together with its directory.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Recorded {
    /// The payload, if it is of this type.
    pub fn payload<M: Message + Name + Default>(&self) -> Option<M> {
        self.event.is(&M::full_name()).then(|| M::decode(self.event.value.clone()).ok()).flatten()
    }

    /// As the request that forwards it.
    pub(crate) fn to_request(&self) -> Bytes {
        let at = self.at.map(|at| {
            let (seconds, nanos) = time::to_parts(at);
            protobuf::Timestamp { seconds, nanos }
        });
        let event = protobuf::Any { type_url: self.event.type_url.clone(), value: self.event.value.clone() };
        let envelope = Envelope {
            timestamp: at,
            namespace: self.namespace.clone(),
            topic: self.topic.clone(),
            event: Some(event),
        };
        ForwardRequest { envelope: Some(envelope) }.encode_to_vec().into()
    }

    fn from_request(request: Bytes) -> Option<Self> {
        let envelope = ForwardRequest::decode(request).ok()?.envelope?;
        let event = envelope.event.unwrap_or_default();
        Some(Self {
            namespace: envelope.namespace,
            topic: envelope.topic,
            at: envelope.timestamp.and_then(|at| time::from_parts(at.seconds, at.nanos)),
            event: Any::new(event.type_url, event.value),
        })
    }
}

/// What answers `Forward`.
struct Endpoint(Arc<watch::Sender<Vec<Recorded>>>);

impl Handler for Endpoint {
    fn call<'a>(&'a self, service: &'a str, method: &'a str, _: Metadata, payload: Bytes) -> Answering<'a> {
        Box::pin(async move {
            if (service, method) != (SERVICE, FORWARD) {
                return Answer::Refuse(Failure::unimplemented(format!("{service}/{method}")));
            }
            match Recorded::from_request(payload) {
                Some(event) => {
                    self.0.send_modify(|seen| seen.push(event));
                    Answer::Reply(Bytes::new())
                }
                None => Answer::Refuse(Failure::invalid("an envelope is required")),
            }
        })
    }
}

struct Topics<'a>(&'a [Recorded]);

impl fmt::Display for Topics<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("nothing");
        }
        for (n, event) in self.0.iter().enumerate() {
            write!(f, "{}{} {}", if n == 0 { "" } else { ", " }, event.namespace, event.topic)?;
        }
        Ok(())
    }
}
