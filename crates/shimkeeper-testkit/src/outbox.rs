// SPDX-License-Identifier: Apache-2.0
//! The events of a fake shim on their way out: built, put in the scripted order, queued.
//!
//! Queuing never waits, so it is done under the model's lock. Delivery is somebody else's: see `publisher`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use prost::{Message, Name};
use shimkeeper_proto::containerd::events::TaskExit;
use tokio::sync::{mpsc, oneshot};

use crate::Recorded;
use crate::script::{Emission, Events};

/// What is queued.
pub(crate) enum Post {
    Event(Recorded),
    /// Answered once everything before it is delivered or given up.
    Flush(oneshot::Sender<()>),
}

/// Where a fake shim puts its events. A cheap handle.
#[derive(Clone)]
pub(crate) struct Outbox {
    namespace: Arc<str>,
    order: Events,
    to: mpsc::UnboundedSender<Post>,
    /// Starts that are kept back until the exit of their process; only for `Events::Reorder`.
    kept: Arc<Mutex<HashMap<u32, Recorded>>>,
}

impl Outbox {
    pub(crate) fn new(namespace: &str, order: Events) -> (Self, mpsc::UnboundedReceiver<Post>) {
        let (to, from) = mpsc::unbounded_channel();
        (Self { namespace: namespace.into(), order, to, kept: Arc::default() }, from)
    }

    pub(crate) fn publish<M: Message + Name>(&self, topic: &str, event: &M) {
        self.queue(self.envelope(topic, event));
    }

    /// A process began: by convention the event of its pid.
    pub(crate) fn publish_start<M: Message + Name>(&self, topic: &str, pid: u32, event: &M) {
        let envelope = self.envelope(topic, event);
        if self.order == Events::Reorder {
            self.kept.lock().expect("nothing panics under this lock").insert(pid, envelope);
        } else {
            self.queue(envelope);
        }
    }

    pub(crate) fn publish_exit(&self, event: &TaskExit) {
        let envelope = self.envelope("/tasks/exit", event);
        self.queue(envelope.clone());
        if self.order == Events::DuplicateExit {
            self.queue(envelope);
        }
        let kept = self.kept.lock().expect("nothing panics under this lock").remove(&event.pid);
        if let Some(start) = kept {
            self.queue(start);
        }
    }

    /// Queues what a script made up, whatever the order of the others.
    pub(crate) fn emit(&self, emission: &Emission) {
        let namespace = if emission.namespace.is_empty() { &*self.namespace } else { &emission.namespace };
        self.send(Recorded {
            namespace: namespace.to_owned(),
            topic: emission.topic.clone(),
            at: Some(SystemTime::now()),
            event: shimkeeper_core::Any::new(emission.type_url.clone(), emission.value.to_bytes()),
        });
    }

    /// Waits until everything queued so far is delivered or given up.
    pub(crate) async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        if self.to.send(Post::Flush(done)).is_ok() {
            // Dropped unanswered, nobody delivers any more.
            let _ = flushed.await;
        }
    }

    fn envelope<M: Message + Name>(&self, topic: &str, event: &M) -> Recorded {
        Recorded {
            namespace: self.namespace.to_string(),
            topic: topic.to_owned(),
            at: Some(SystemTime::now()),
            event: shimkeeper_core::Any::new(M::full_name(), event.encode_to_vec()),
        }
    }

    fn queue(&self, envelope: Recorded) {
        if self.order != Events::None {
            self.send(envelope);
        }
    }

    fn send(&self, envelope: Recorded) {
        // Nobody takes events any more once the shim is dying.
        let _ = self.to.send(Post::Event(envelope));
    }
}
