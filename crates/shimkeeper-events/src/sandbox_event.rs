// SPDX-License-Identifier: Apache-2.0
//! Sandbox events, which no shim sends: the manager says them all.

use std::time::SystemTime;

use prost::{Message, Name};
use shimkeeper_core::{Any, Exit, SandboxKey, time};
use shimkeeper_proto::containerd::events as wire;
use shimkeeper_proto::google::protobuf::Timestamp;

use crate::envelope::Envelope;
use crate::topic::Topic;

impl Envelope {
    /// A sandbox was made.
    pub fn sandbox_create(sandbox: &SandboxKey) -> Self {
        let sandbox_id = sandbox.id.to_string();
        Self::of_sandbox(sandbox, Topic::SANDBOX_CREATE, &wire::SandboxCreate { sandbox_id })
    }

    /// A sandbox was started.
    pub fn sandbox_start(sandbox: &SandboxKey) -> Self {
        let sandbox_id = sandbox.id.to_string();
        Self::of_sandbox(sandbox, Topic::SANDBOX_START, &wire::SandboxStart { sandbox_id })
    }

    /// A sandbox ended.
    pub fn sandbox_exit(sandbox: &SandboxKey, exit: &Exit) -> Self {
        let (seconds, nanos) = time::to_parts(exit.at);
        let message = wire::SandboxExit {
            sandbox_id: sandbox.id.to_string(),
            exit_status: exit.status,
            exited_at: Some(Timestamp { seconds, nanos }),
        };
        Self::of_sandbox(sandbox, Topic::SANDBOX_EXIT, &message)
    }

    fn of_sandbox<M: Message + Name>(sandbox: &SandboxKey, topic: Topic, message: &M) -> Self {
        let event = Any::new(M::full_name(), message.encode_to_vec());
        Self::new(sandbox.namespace.clone(), topic, SystemTime::now(), event)
            .expect("ids and numbers are far smaller than the largest event")
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use shimkeeper_core::Provenance;

    use super::*;

    #[test]
    fn an_exit_says_which_sandbox_how_and_when() {
        let key = SandboxKey::parse("ns", "pod").unwrap();
        let at = UNIX_EPOCH + Duration::from_secs(5);
        let exit = Exit { pid: 7, status: 3, at, provenance: Provenance::Observed };
        let envelope = Envelope::sandbox_exit(&key, &exit);
        assert_eq!((envelope.topic().as_str(), envelope.namespace().as_str()), ("/sandboxes/exit", "ns"));
        assert_eq!(envelope.event().type_url, "containerd.events.SandboxExit");
        let message = wire::SandboxExit::decode(envelope.event().value.clone()).unwrap();
        assert_eq!((message.sandbox_id.as_str(), message.exit_status), ("pod", 3));
        assert_eq!(message.exited_at.unwrap().seconds, 5);
    }
}
