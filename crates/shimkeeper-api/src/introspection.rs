// SPDX-License-Identifier: Apache-2.0
//! `Introspection`: what the server is made of, in containerd's terms. Needs no namespace.
//!
//! Clients look whether there is a runtime (`io.containerd.runtime.v2` / `task`), and every `ctr` command begins with
//! `Server`.

use std::os::linux::fs::MetadataExt as _;
use std::sync::Arc;

use shimkeeper::events::{Adaptor, Filters};
use shimkeeper::{Kind, RuntimeInfo};
use shimkeeper_proto::containerd::services::introspection::v1 as wire;
use shimkeeper_proto::containerd::services::introspection::v1::introspection_server::Introspection;
use shimkeeper_proto::containerd::types;
use shimkeeper_proto::google::protobuf::Empty;
use tonic::{Request, Response, Status, async_trait};

use crate::inner::Inner;
use crate::{convert, status};

/// What containerd calls the part that runs shims.
const RUNTIME: &str = "io.containerd.runtime.v2";
/// What containerd calls a service of its API.
const SERVICE: &str = "io.containerd.grpc.v1";

/// The parts there are, by their names in containerd.
const PARTS: [(&str, &str); 11] = [
    (SERVICE, "containers"),
    (SERVICE, "events"),
    (SERVICE, "healthcheck"),
    (SERVICE, "introspection"),
    (SERVICE, "leases"),
    (SERVICE, "namespaces"),
    (SERVICE, "sandbox-controllers"),
    (SERVICE, "sandboxes"),
    (SERVICE, "tasks"),
    (SERVICE, "version"),
    (RUNTIME, "task"),
];

pub(crate) struct IntrospectionService(pub(crate) Arc<Inner>);

#[async_trait]
impl Introspection for IntrospectionService {
    async fn plugins(
        &self,
        request: Request<wire::PluginsRequest>,
    ) -> Result<Response<wire::PluginsResponse>, Status> {
        let filters = Filters::parse(&request.get_ref().filters).map_err(|e| status::of_filter(&e))?;
        let parts = PARTS.into_iter().filter(|(kind, id)| filters.matches(&Part { kind, id }));
        let plugins = parts.map(|(kind, id)| plugin(kind, id)).collect();
        Ok(Response::new(wire::PluginsResponse { plugins }))
    }

    async fn server(&self, _request: Request<Empty>) -> Result<Response<wire::ServerResponse>, Status> {
        // Every process has one, whether or not /proc is there to tell.
        let pidns = std::fs::metadata("/proc/self/ns/pid").map_or(0, |meta| meta.st_ino());
        Ok(Response::new(wire::ServerResponse {
            uuid: self.0.about.uuid.clone(),
            pid: std::process::id().into(),
            pidns,
            deprecations: Vec::new(),
        }))
    }

    async fn plugin_info(
        &self,
        request: Request<wire::PluginInfoRequest>,
    ) -> Result<Response<wire::PluginInfoResponse>, Status> {
        let wire::PluginInfoRequest { r#type: kind, id, options } = request.into_inner();
        if !PARTS.contains(&(kind.as_str(), id.as_str())) {
            return Err(status::of(Kind::NotFound, format!("plugin {kind}/{id}")));
        }
        let plugin = Some(plugin(&kind, &id));
        let Some(options) = options else {
            return Ok(Response::new(wire::PluginInfoResponse { plugin, extra: None }));
        };
        let asked = (kind == RUNTIME).then(|| shimkeeper_proto::unpack::<types::RuntimeRequest>(&options));
        let asked = asked.flatten().ok_or_else(|| {
            status::of(Kind::InvalidArgument, format!("plugin {kind}/{id} takes no options of this type"))
        })?;
        let asked =
            asked.map_err(|e| status::of(Kind::InvalidArgument, format!("options cannot be read: {e}")))?;
        let of_runtime = asked.options.map(convert::from_any);
        let info = self.0.manager.shim_info(&asked.runtime_path, of_runtime.as_ref()).await;
        let extra = Some(shimkeeper_proto::pack(&message(info.map_err(|e| status::of_library(&e))?)));
        Ok(Response::new(wire::PluginInfoResponse { plugin, extra }))
    }
}

/// A part as filters see it.
struct Part<'a> {
    kind: &'a str,
    id: &'a str,
}

impl Adaptor for Part<'_> {
    fn field(&self, path: &[String]) -> Option<&str> {
        match path {
            [field] if field == "type" => Some(self.kind),
            [field] if field == "id" => Some(self.id),
            _ => None,
        }
    }
}

fn plugin(kind: &str, id: &str) -> wire::Plugin {
    let platforms = if kind == RUNTIME { vec![here()] } else { Vec::new() };
    wire::Plugin { r#type: kind.to_owned(), id: id.to_owned(), platforms, ..wire::Plugin::default() }
}

/// The platform, in Go's words for it.
fn here() -> types::Platform {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    };
    let os = std::env::consts::OS.to_owned();
    types::Platform { os, architecture: architecture.to_owned(), ..types::Platform::default() }
}

fn message(info: RuntimeInfo) -> types::RuntimeInfo {
    types::RuntimeInfo {
        name: info.name,
        version: Some(types::RuntimeVersion { version: info.version, revision: info.revision }),
        options: info.options.map(convert::any),
        features: info.features.map(convert::any),
        annotations: info.annotations,
    }
}
