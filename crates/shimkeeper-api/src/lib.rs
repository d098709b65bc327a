// SPDX-License-Identifier: Apache-2.0
//! containerd's gRPC API over the library and the store. No state, no policy: a handler checks what it got, asks the
//! library or the store, waits, and answers.
//!
//! ```text
//! client → Api ─┬─ namespace, deadline, panic ─→ service ─┬─ shimkeeper::Manager
//!               └─ what nobody serves: Unimplemented      └─ shimkeeper_store::Store
//! ```
//!
//! [`Services`] makes an [`Api`], one `tower` service for a whole HTTP/2 connection. Who accepts connections, on which
//! socket and with which limits, is not decided here.

mod answer;
mod caller;
mod contain;
mod containers;
mod convert;
mod dispatch;
mod events;
mod health;
mod inner;
mod introspection;
mod keeper;
mod leases;
mod message;
mod method;
mod namespaces;
mod records;
mod sandbox_controller;
mod sandbox_store;
mod status;
mod tasks;
mod version;

pub use answer::{Answer, Observer, refusal};
pub use caller::Peer;
pub use dispatch::Api;
pub use inner::About;
pub use message::MAX_MESSAGE_BYTES;

use std::sync::Arc;

use shimkeeper::Manager;
use shimkeeper_store::Store;

use inner::Inner;

/// What the services stand on.
#[derive(Clone)]
pub struct Services {
    inner: Arc<Inner>,
    observer: Option<Arc<dyn Observer>>,
}

impl Services {
    /// Services over a manager and a store.
    pub fn new(manager: Manager, store: Store, about: About) -> Self {
        Self { inner: Arc::new(Inner { manager, store, about }), observer: None }
    }

    /// With somebody who is told of every call.
    pub fn observed(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// The API as one service.
    pub fn api(self) -> Api {
        Api::new(&self.inner, self.observer)
    }
}

impl std::fmt::Debug for Services {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Services").field("about", &self.inner.about).finish_non_exhaustive()
    }
}
