// SPDX-License-Identifier: Apache-2.0
//! The services there are.

use std::sync::Arc;

use shimkeeper_proto::containerd::services::containers::v1::{
    self as containers, containers_server::Containers as _,
};
use shimkeeper_proto::containerd::services::events::v1::{self as events, events_server::Events as _};
use shimkeeper_proto::containerd::services::introspection::v1::{
    self as introspection, introspection_server::Introspection as _,
};
use shimkeeper_proto::containerd::services::leases::v1::{self as leases, leases_server::Leases as _};
use shimkeeper_proto::containerd::services::namespaces::v1::{
    self as namespaces, namespaces_server::Namespaces as _,
};
use shimkeeper_proto::containerd::services::sandbox::v1::{
    self as sandbox, controller_server::Controller as _, store_server::Store as _,
};
use shimkeeper_proto::containerd::services::tasks::v1::{self as tasks, tasks_server::Tasks as _};
use shimkeeper_proto::containerd::services::version::v1::{self as version, version_server::Version as _};
use shimkeeper_proto::grpc::health::v1::{self as health, health_server::Health as _};
use shimkeeper_proto::shimkeeper::v1::{self as keeper, keeper_server::Keeper as _};

use crate::events::feed;
use crate::inner::Inner;
use crate::method::{Method, streaming, unary};

/// A service and its methods.
pub(super) struct Entry {
    pub(super) name: &'static str,
    pub(super) methods: Vec<Arc<Served>>,
}

/// A method: its full path, and what is called.
pub(super) struct Served {
    pub(super) path: Arc<str>,
    pub(super) call: Method,
}

/// One entry: the names of a service and of its methods, what handles them, and how: with one answer each, or with a stream.
macro_rules! entry {
    ($name:path, $methods:path, $service:expr, [$($one:ident)*] $(, [$($many:ident)*])?) => {{
        let service = Arc::new($service);
        Entry::new($name, $methods, [
            $((stringify!($one), unary(&service, |service, request| service.$one(request))),)*
            $($((stringify!($many), streaming(&service, |service, request| service.$many(request))),)*)?
        ])
    }};
}

/// What is about tasks, and about the server itself.
pub(super) fn running(inner: &Arc<Inner>) -> Vec<Entry> {
    vec![
        entry!(
            tasks::TASKS_SERVICE,
            tasks::TASKS_METHODS,
            crate::tasks::TasksService(inner.clone()),
            [create start delete delete_process get list kill exec resize_pty close_io pause resume list_pids
                checkpoint update metrics wait]
        ),
        events(inner),
        entry!(
            introspection::INTROSPECTION_SERVICE,
            introspection::INTROSPECTION_METHODS,
            crate::introspection::IntrospectionService(inner.clone()),
            [plugins server plugin_info]
        ),
        entry!(
            version::VERSION_SERVICE,
            version::VERSION_METHODS,
            crate::version::VersionService(inner.clone()),
            [version]
        ),
        entry!(
            health::HEALTH_SERVICE,
            health::HEALTH_METHODS,
            crate::health::HealthService(inner.clone()),
            [check],
            [watch]
        ),
        entry!(
            keeper::KEEPER_SERVICE,
            keeper::KEEPER_METHODS,
            crate::keeper::KeeperService(inner.clone()),
            [adoption shims exit],
            [events]
        ),
    ]
}

/// Events: a subscription has its messages as bytes already.
fn events(inner: &Arc<Inner>) -> Entry {
    let service = Arc::new(crate::events::EventsService(inner.clone()));
    let calls = [
        ("publish", unary(&service, |service, request| service.publish(request))),
        ("forward", unary(&service, |service, request| service.forward(request))),
        ("subscribe", feed::method(inner.clone())),
    ];
    Entry::new(events::EVENTS_SERVICE, events::EVENTS_METHODS, calls)
}

/// What is about records.
pub(super) fn records(inner: &Arc<Inner>) -> Vec<Entry> {
    vec![
        entry!(
            containers::CONTAINERS_SERVICE,
            containers::CONTAINERS_METHODS,
            crate::containers::ContainersService(inner.clone()),
            [get list create update delete],
            [list_stream]
        ),
        entry!(
            leases::LEASES_SERVICE,
            leases::LEASES_METHODS,
            crate::leases::LeasesService(inner.clone()),
            [create delete list add_resource delete_resource list_resources]
        ),
        entry!(
            namespaces::NAMESPACES_SERVICE,
            namespaces::NAMESPACES_METHODS,
            crate::namespaces::NamespacesService(inner.clone()),
            [get list create update delete]
        ),
        entry!(
            sandbox::STORE_SERVICE,
            sandbox::STORE_METHODS,
            crate::sandbox_store::SandboxStoreService(inner.clone()),
            [create update delete list get]
        ),
        entry!(
            sandbox::CONTROLLER_SERVICE,
            sandbox::CONTROLLER_METHODS,
            crate::sandbox_controller::SandboxControllerService(inner.clone()),
            [create start platform stop wait status shutdown metrics update]
        ),
    ]
}

impl Entry {
    /// A service with its methods; each has the name of what is called for it, as Rust has it.
    fn new<const N: usize>(
        name: &'static str,
        methods: [&'static str; N],
        calls: [(&'static str, Method); N],
    ) -> Self {
        let served = calls.into_iter().map(|(called, call)| {
            let called = called.replace('_', "");
            let method = methods.iter().find(|method| method.eq_ignore_ascii_case(&called));
            let method = method.expect("what is called has the name of a method");
            Arc::new(Served { path: format!("/{name}/{method}").into(), call })
        });
        Self { name, methods: served.collect() }
    }
}
