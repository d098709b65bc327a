// SPDX-License-Identifier: Apache-2.0
//! What is generated for a `service`: its names always, gRPC stubs where the table says so.

use std::fmt::Write;

use prost_build::{Service, ServiceGenerator};

/// Services that get tonic stubs, behind the cargo features `grpc-client` and `grpc-server`.
///
/// Everything else is spoken over ttrpc alone, which calls by name and needs no stubs.
const GRPC: &[&str] = &[
    "containerd.services.containers.v1.Containers",
    "containerd.services.events.v1.Events",
    "containerd.services.introspection.v1.Introspection",
    "containerd.services.leases.v1.Leases",
    "containerd.services.namespaces.v1.Namespaces",
    "containerd.services.sandbox.v1.Controller",
    "containerd.services.sandbox.v1.Store",
    "containerd.services.tasks.v1.Tasks",
    "containerd.services.version.v1.Version",
    "containerd.task.v3.Task",
    "grpc.health.v1.Health",
    "shimkeeper.v1.Keeper",
];

/// The generator to give to prost-build.
pub(crate) fn generator() -> Box<dyn ServiceGenerator> {
    let tonic = tonic_prost_build::configure()
        .compile_well_known_types(true)
        // Both ends get their connection from us: there is no dialling in the stubs.
        .build_transport(false)
        .client_mod_attribute(".", r#"#[cfg(feature = "grpc-client")]"#)
        .server_mod_attribute(".", r#"#[cfg(feature = "grpc-server")]"#)
        .service_generator();
    Box::new(Generator { tonic })
}

struct Generator {
    tonic: Box<dyn ServiceGenerator>,
}

impl ServiceGenerator for Generator {
    fn generate(&mut self, service: Service, buf: &mut String) {
        buf.push_str(&names(&service));
        if GRPC.contains(&full_name(&service).as_str()) {
            self.tonic.generate(service, buf);
        }
    }

    fn finalize_package(&mut self, package: &str, buf: &mut String) {
        self.tonic.finalize_package(package, buf);
    }
}

fn full_name(service: &Service) -> String {
    format!("{}.{}", service.package, service.proto_name)
}

/// Constants with the service's full name and the names of its methods, as they stand on the wire.
fn names(service: &Service) -> String {
    let prefix = screaming(&service.proto_name);
    let full_name = full_name(service);
    let count = service.methods.len();
    let mut code = format!("/// Full name of the service `{}`.\n", service.proto_name);
    let mut line = |text: std::fmt::Arguments<'_>| {
        writeln!(code, "{text}").expect("writing to a string cannot fail");
    };
    if !service.comments.leading.is_empty() {
        line(format_args!("///"));
    }
    for comment in &service.comments.leading {
        line(format_args!("///{}", comment.trim_end()));
    }
    line(format_args!("pub const {prefix}_SERVICE: &str = {full_name:?};"));
    line(format_args!(
        "/// Names of the methods of [`{prefix}_SERVICE`], in the order of the `.proto` file."
    ));
    line(format_args!("pub const {prefix}_METHODS: [&str; {count}] = ["));
    for method in &service.methods {
        line(format_args!("{:?},", method.proto_name));
    }
    line(format_args!("];"));
    code
}

/// `RuntimeInfo` as `RUNTIME_INFO`.
fn screaming(name: &str) -> String {
    let mut out = String::new();
    for (at, letter) in name.char_indices() {
        if at > 0 && letter.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(letter.to_ascii_uppercase());
    }
    out
}
