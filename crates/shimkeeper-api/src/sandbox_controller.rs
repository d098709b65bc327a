// SPDX-License-Identifier: Apache-2.0
//! `Controller`: sandboxes that run. There is one controller here, the one containerd calls `shim`: it is for shims that
//! serve the sandbox service themselves. What happens to sandboxes is published by the library, once each.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use shimkeeper::{CreateSandbox, HasKind as _, Kind, Namespace, Sandbox, SandboxKey};
use shimkeeper_proto::containerd::services::sandbox::v1 as wire;
use shimkeeper_proto::containerd::services::sandbox::v1::controller_server::Controller;
use shimkeeper_proto::containerd::types;
use tonic::{Request, Response, Status, async_trait};

use crate::inner::Inner;
use crate::{caller, convert, status};

/// The name of the only controller there is.
const SANDBOXER: &str = "shim";

pub(crate) struct SandboxControllerService(pub(crate) Arc<Inner>);

impl SandboxControllerService {
    /// The sandbox of a request, through a handle that keeps to the request's deadline.
    fn sandbox<T>(&self, request: &Request<T>, sandboxer: &str, id: &str) -> Result<Sandbox, Status> {
        let namespace = caller::namespace(request)?;
        known(sandboxer)?;
        let Some(key) = key(&namespace, id) else { return Err(status::no_sandbox(id)) };
        let sandbox = self.0.manager.sandbox(&key).map_err(|e| status::of_library(&e))?;
        Ok(match caller::time_left(request) {
            Some(left) => sandbox.within(left),
            None => sandbox,
        })
    }

    /// What the library is asked for. What the request leaves out is in the sandbox's record.
    async fn described(
        &self,
        namespace: &Namespace,
        given: wire::ControllerCreateRequest,
    ) -> Result<CreateSandbox, Status> {
        let id = given.sandbox_id;
        let key = id.parse().map(|id| SandboxKey::new(namespace.clone(), id));
        let key = key.map_err(|e| status::of_id(&e))?;
        let given_record = given.sandbox.unwrap_or_default();
        let kept = match self.0.store.sandboxes(namespace).get(&id).await {
            Ok(kept) => Some(kept),
            Err(error) if error.kind() == Kind::NotFound => None,
            Err(error) => return Err(status::of_store(&error)),
        };
        let runtime = given_record.runtime.unwrap_or_default();
        let name = match (&runtime.name, &kept) {
            (name, Some(kept)) if name.is_empty() => kept.runtime.name.clone(),
            (name, _) => name.clone(),
        };
        if name.is_empty() {
            return Err(status::missing("the name of the sandbox's runtime"));
        }
        let of_record = || kept.as_ref().and_then(|kept| kept.runtime.options.clone());
        let options = given.options.or(runtime.options).map(convert::from_any).or_else(of_record);
        let spec = given_record.spec.map(convert::from_any);
        let spec = spec.or_else(|| kept.as_ref().and_then(|kept| kept.spec.clone()));
        let mut sandbox = CreateSandbox::new(key, name)
            .spec(spec.unwrap_or_default().value)
            .rootfs(given.rootfs.into_iter().map(convert::from_mount).collect())
            .network_namespace(given.netns_path);
        if let Some(options) = options {
            sandbox = sandbox.options(options);
        }
        for (name, value) in given.annotations {
            sandbox = sandbox.annotation(name, value);
        }
        Ok(sandbox)
    }
}

#[async_trait]
impl Controller for SandboxControllerService {
    async fn create(
        &self,
        request: Request<wire::ControllerCreateRequest>,
    ) -> Result<Response<wire::ControllerCreateResponse>, Status> {
        let namespace = caller::namespace(&request)?;
        known(&request.get_ref().sandboxer)?;
        let sandbox = self.described(&namespace, request.into_inner()).await?;
        let made = self.0.manager.create_sandbox(sandbox).await.map_err(|e| status::of_library(&e))?;
        Ok(Response::new(wire::ControllerCreateResponse { sandbox_id: made.key().id.to_string() }))
    }

    async fn start(
        &self,
        request: Request<wire::ControllerStartRequest>,
    ) -> Result<Response<wire::ControllerStartResponse>, Status> {
        let wire::ControllerStartRequest { sandbox_id, sandboxer } = request.get_ref();
        let sandbox = self.sandbox(&request, sandboxer, sandbox_id)?;
        caller::audit_sandbox(&request, "StartSandbox", &sandbox.key());
        let started = sandbox.start().await.map_err(|e| status::of_library(&e))?;
        let (address, version) = sandbox.endpoint().unwrap_or_default();
        Ok(Response::new(wire::ControllerStartResponse {
            sandbox_id: sandbox_id.clone(),
            pid: started.pid,
            created_at: started.created_at.map(convert::timestamp),
            address,
            version,
            ..wire::ControllerStartResponse::default()
        }))
    }

    async fn platform(
        &self,
        request: Request<wire::ControllerPlatformRequest>,
    ) -> Result<Response<wire::ControllerPlatformResponse>, Status> {
        let wire::ControllerPlatformRequest { sandbox_id, sandboxer } = request.get_ref();
        let sandbox = self.sandbox(&request, sandboxer, sandbox_id)?;
        let found = sandbox.platform().await.map_err(|e| status::of_library(&e))?;
        let platform = types::Platform {
            os: found.os,
            architecture: found.architecture,
            variant: found.variant,
            os_version: found.os_version,
            ..types::Platform::default()
        };
        Ok(Response::new(wire::ControllerPlatformResponse { platform: Some(platform) }))
    }

    async fn stop(
        &self,
        request: Request<wire::ControllerStopRequest>,
    ) -> Result<Response<wire::ControllerStopResponse>, Status> {
        let wire::ControllerStopRequest { sandbox_id, timeout_secs, sandboxer } = request.get_ref();
        match self.sandbox(&request, sandboxer, sandbox_id) {
            Ok(sandbox) => {
                caller::audit_sandbox(&request, "StopSandbox", &sandbox.key());
                let within = Duration::from_secs((*timeout_secs).into());
                sandbox.stop(within).await.map_err(|e| status::of_library(&e))?;
            }
            // What is not there has stopped.
            Err(error) if error.code() == tonic::Code::NotFound && sandboxer == SANDBOXER => {}
            Err(error) => return Err(error),
        }
        Ok(Response::new(wire::ControllerStopResponse {}))
    }

    async fn wait(
        &self,
        request: Request<wire::ControllerWaitRequest>,
    ) -> Result<Response<wire::ControllerWaitResponse>, Status> {
        let wire::ControllerWaitRequest { sandbox_id, sandboxer } = request.get_ref();
        let sandbox = self.sandbox(&request, sandboxer, sandbox_id)?;
        let exit = sandbox.wait().await.map_err(|e| status::of_library(&e))?;
        let (exit_status, exited_at) = convert::exit(Some(&exit));
        Ok(Response::new(wire::ControllerWaitResponse { exit_status, exited_at }))
    }

    async fn status(
        &self,
        request: Request<wire::ControllerStatusRequest>,
    ) -> Result<Response<wire::ControllerStatusResponse>, Status> {
        let wire::ControllerStatusRequest { sandbox_id, verbose, sandboxer } = request.get_ref();
        let sandbox = match self.sandbox(&request, sandboxer, sandbox_id) {
            Ok(sandbox) => sandbox,
            // As containerd has it: a sandbox nobody knows is one that has ended.
            Err(error) if error.code() == tonic::Code::NotFound && sandboxer == SANDBOXER => {
                let exited_at = Some(convert::timestamp(SystemTime::now()));
                let sandbox_id = sandbox_id.clone();
                let gone = wire::ControllerStatusResponse { sandbox_id, exited_at, ..Default::default() };
                return Ok(Response::new(gone));
            }
            Err(error) => return Err(error),
        };
        let found = sandbox.status(*verbose).await.map_err(|e| status::of_library(&e))?;
        let (address, version) = sandbox.endpoint().unwrap_or_default();
        Ok(Response::new(wire::ControllerStatusResponse {
            sandbox_id: sandbox_id.clone(),
            pid: found.pid,
            state: found.state,
            info: found.info,
            created_at: found.created_at.map(convert::timestamp),
            exited_at: found.exited_at.map(convert::timestamp),
            extra: found.extra.map(convert::any),
            address,
            version,
        }))
    }

    async fn shutdown(
        &self,
        request: Request<wire::ControllerShutdownRequest>,
    ) -> Result<Response<wire::ControllerShutdownResponse>, Status> {
        let wire::ControllerShutdownRequest { sandbox_id, sandboxer } = request.get_ref();
        let sandbox = self.sandbox(&request, sandboxer, sandbox_id)?;
        caller::audit_sandbox(&request, "ShutdownSandbox", &sandbox.key());
        sandbox.shutdown().await.map_err(|e| status::of_library(&e))?;
        Ok(Response::new(wire::ControllerShutdownResponse {}))
    }

    async fn metrics(
        &self,
        request: Request<wire::ControllerMetricsRequest>,
    ) -> Result<Response<wire::ControllerMetricsResponse>, Status> {
        let wire::ControllerMetricsRequest { sandbox_id, sandboxer } = request.get_ref();
        let sandbox = self.sandbox(&request, sandboxer, sandbox_id)?;
        let stats = sandbox.metrics().await.map_err(|e| status::of_library(&e))?;
        let metrics = types::Metric {
            timestamp: Some(convert::timestamp(SystemTime::now())),
            id: sandbox_id.clone(),
            data: Some(convert::any(stats.raw)),
        };
        Ok(Response::new(wire::ControllerMetricsResponse { metrics: Some(metrics) }))
    }

    async fn update(
        &self,
        request: Request<wire::ControllerUpdateRequest>,
    ) -> Result<Response<wire::ControllerUpdateResponse>, Status> {
        let wire::ControllerUpdateRequest { sandbox_id, sandboxer, sandbox, fields } = request.get_ref();
        self.sandbox(&request, sandboxer, sandbox_id)?;
        let given = sandbox.as_ref().ok_or_else(|| status::missing("sandbox"))?;
        if let Some(field) = unchangeable(given, fields) {
            let text =
                format!("the {field} of a sandbox that runs cannot be changed: shims have no method for it");
            return Err(status::of(Kind::NotImplemented, text));
        }
        // What is left is in the record, which is the store's to change and nothing to a shim.
        Ok(Response::new(wire::ControllerUpdateResponse {}))
    }
}

/// A field that is to change and that the shim would have to be told of.
fn unchangeable(given: &types::Sandbox, fields: &[String]) -> Option<&'static str> {
    if fields.is_empty() {
        // All that may change: what is left out stays.
        let has_runtime = given.runtime.as_ref().is_some_and(|runtime| !runtime.name.is_empty());
        return given.spec.is_some().then_some("spec").or(has_runtime.then_some("runtime"));
    }
    let roots = fields.iter().map(|path| path.split('.').next().unwrap_or_default());
    roots
        .into_iter()
        .find_map(|root| ["spec", "runtime", "sandboxer"].into_iter().find(|field| *field == root))
}

fn known(sandboxer: &str) -> Result<(), Status> {
    match sandboxer {
        SANDBOXER => Ok(()),
        "" => Err(status::missing("sandboxer")),
        other => Err(status::of(Kind::NotFound, format!("sandbox controller {other:?}"))),
    }
}

fn key(namespace: &Namespace, id: &str) -> Option<SandboxKey> {
    Some(SandboxKey::new(namespace.clone(), id.parse().ok()?))
}
