// SPDX-License-Identifier: Apache-2.0
//! The services there are.

use std::sync::Arc;

use shimkeeper_proto::containerd::services::containers::v1 as containers;
use shimkeeper_proto::containerd::services::events::v1 as events;
use shimkeeper_proto::containerd::services::introspection::v1 as introspection;
use shimkeeper_proto::containerd::services::leases::v1 as leases;
use shimkeeper_proto::containerd::services::namespaces::v1 as namespaces;
use shimkeeper_proto::containerd::services::sandbox::v1 as sandbox;
use shimkeeper_proto::containerd::services::tasks::v1 as tasks;
use shimkeeper_proto::containerd::services::version::v1 as version;
use shimkeeper_proto::grpc::health::v1 as health;
use shimkeeper_proto::shimkeeper::v1 as keeper;
use tonic::codegen::Service as _;

use super::Entry;
use crate::events::feed::{self, Feed};
use crate::{Inner, MAX_MESSAGE_BYTES};

/// One entry: a stub's server, the names of its service and methods, and what handles them.
macro_rules! entry {
    ($($server:ident)::+, $service:path, $methods:path, $handler:expr) => {{
        let server = $($server)::+::new($handler)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        Entry::new($service, &$methods, move |request| server.clone().call(request))
    }};
}

/// What is about tasks, and about the server itself.
pub(super) fn running(inner: &Arc<Inner>) -> Vec<Entry> {
    vec![
        entry!(
            tasks::tasks_server::TasksServer,
            tasks::TASKS_SERVICE,
            tasks::TASKS_METHODS,
            crate::tasks::TasksService(inner.clone())
        ),
        events(inner),
        entry!(
            introspection::introspection_server::IntrospectionServer,
            introspection::INTROSPECTION_SERVICE,
            introspection::INTROSPECTION_METHODS,
            crate::introspection::IntrospectionService(inner.clone())
        ),
        entry!(
            version::version_server::VersionServer,
            version::VERSION_SERVICE,
            version::VERSION_METHODS,
            crate::version::VersionService(inner.clone())
        ),
        entry!(
            health::health_server::HealthServer,
            health::HEALTH_SERVICE,
            health::HEALTH_METHODS,
            crate::health::HealthService(inner.clone())
        ),
        entry!(
            keeper::keeper_server::KeeperServer,
            keeper::KEEPER_SERVICE,
            keeper::KEEPER_METHODS,
            crate::keeper::KeeperService(inner.clone())
        ),
    ]
}

/// Events: all but the feed is the stub's.
fn events(inner: &Arc<Inner>) -> Entry {
    let feed = Feed(inner.clone());
    let server = events::events_server::EventsServer::new(crate::events::EventsService(inner.clone()))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    Entry::new(events::EVENTS_SERVICE, &events::EVENTS_METHODS, move |request| match request.uri().path() {
        feed::PATH => feed.call(request),
        _ => server.clone().call(request),
    })
}

/// What is about records.
pub(super) fn records(inner: &Arc<Inner>) -> Vec<Entry> {
    vec![
        entry!(
            containers::containers_server::ContainersServer,
            containers::CONTAINERS_SERVICE,
            containers::CONTAINERS_METHODS,
            crate::containers::ContainersService(inner.clone())
        ),
        entry!(
            leases::leases_server::LeasesServer,
            leases::LEASES_SERVICE,
            leases::LEASES_METHODS,
            crate::leases::LeasesService(inner.clone())
        ),
        entry!(
            namespaces::namespaces_server::NamespacesServer,
            namespaces::NAMESPACES_SERVICE,
            namespaces::NAMESPACES_METHODS,
            crate::namespaces::NamespacesService(inner.clone())
        ),
        entry!(
            sandbox::store_server::StoreServer,
            sandbox::STORE_SERVICE,
            sandbox::STORE_METHODS,
            crate::sandbox_store::SandboxStoreService(inner.clone())
        ),
        entry!(
            sandbox::controller_server::ControllerServer,
            sandbox::CONTROLLER_SERVICE,
            sandbox::CONTROLLER_METHODS,
            crate::sandbox_controller::SandboxControllerService(inner.clone())
        ),
    ]
}
