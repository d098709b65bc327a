// SPDX-License-Identifier: Apache-2.0
//! Events about records, which the services publish once the store has what they tell of.

use std::time::SystemTime;

use prost::{Message, Name};
use shimkeeper::events::{Envelope, Topic};
use shimkeeper::{Any, Manager, Namespace};

/// Publishes that a record was made, changed or removed.
pub(crate) async fn publish<M: Message + Name>(
    manager: &Manager,
    namespace: Namespace,
    topic: Topic,
    message: &M,
) {
    let event = Any::new(M::full_name(), message.encode_to_vec());
    match Envelope::new(namespace, topic, SystemTime::now(), event) {
        Ok(envelope) => manager.publish(envelope).await,
        // The record itself is as it was asked for.
        Err(error) => tracing::warn!(%error, event = M::NAME, "an event could not be published"),
    }
}
