// SPDX-License-Identifier: Apache-2.0
//! The sandboxes of a fake shim: what an honest shim would know about them, and what one says that has none.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::SystemTime;

use bytes::Bytes;
use shimkeeper_proto::containerd::runtime::sandbox::v1 as api;
use shimkeeper_proto::containerd::types::{Metric, Platform};
use shimkeeper_proto::io::containerd::cgroups::v2::{Metrics, PidsStat};
use tokio::sync::watch;

use super::Shim;
use super::honest::{decode, reply};
use crate::model::Failure;
use crate::script::{Method, SandboxService};
use crate::stamp;

/// The annotation of a sandbox that ends by itself as soon as it is started: with this status.
pub const SANDBOX_EXIT: &str = "shimkeeper.test/sandbox-exit";

/// The sandboxes by their ids.
#[derive(Debug, Default)]
pub(super) struct Sandboxes(Mutex<BTreeMap<String, Sandbox>>);

#[derive(Debug)]
struct Sandbox {
    made_at: SystemTime,
    /// The status it ends with by itself.
    ends: Option<u32>,
    /// How and when it ended.
    end: watch::Sender<Option<(u32, SystemTime)>>,
}

impl Sandboxes {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Sandbox>> {
        self.0.lock().expect("nothing panics under this lock")
    }

    fn with<T>(&self, id: &str, look: impl FnOnce(&Sandbox) -> T) -> Result<T, Failure> {
        self.lock().get(id).map(look).ok_or_else(|| Failure::new(5, format!("sandbox {id}: not found")))
    }

    fn create(&self, request: &api::CreateSandboxRequest) -> Result<(), Failure> {
        let id = request.sandbox_id.clone();
        let ends = request.annotations.get(SANDBOX_EXIT).and_then(|status| status.parse().ok());
        let new = Sandbox { made_at: SystemTime::now(), ends, end: watch::Sender::new(None) };
        let mut sandboxes = self.lock();
        if sandboxes.contains_key(&id) {
            return Err(Failure::exists(&id));
        }
        sandboxes.insert(id, new);
        Ok(())
    }

    fn end(sandbox: &Sandbox, status: u32) {
        sandbox.end.send_if_modified(|end| {
            let is_first = end.is_none();
            end.get_or_insert((status, SystemTime::now()));
            is_first
        });
    }
}

impl Shim {
    pub(super) async fn sandbox(&self, method: Method, payload: Bytes) -> Result<Bytes, Failure> {
        if self.script.sandbox == SandboxService::Hollow {
            return self.hollow(method).await;
        }
        match method {
            Method::CreateSandbox => {
                self.sandboxes.create(&decode(payload)?)?;
                reply(&api::CreateSandboxResponse {})
            }
            Method::StartSandbox => {
                let id = decode::<api::StartSandboxRequest>(payload)?.sandbox_id;
                let made_at = self.sandboxes.with(&id, |sandbox| {
                    if let Some(status) = sandbox.ends {
                        Sandboxes::end(sandbox, status);
                    }
                    sandbox.made_at
                })?;
                let created_at = Some(stamp::of(Some(made_at)));
                reply(&api::StartSandboxResponse { pid: self.pid, created_at, spec: None })
            }
            Method::StopSandbox => {
                let id = decode::<api::StopSandboxRequest>(payload)?.sandbox_id;
                self.sandboxes.with(&id, |sandbox| Sandboxes::end(sandbox, 0))?;
                reply(&api::StopSandboxResponse {})
            }
            Method::WaitSandbox => {
                let id = decode::<api::WaitSandboxRequest>(payload)?.sandbox_id;
                let mut ends = self.sandboxes.with(&id, |sandbox| sandbox.end.subscribe())?;
                let end = ends.wait_for(Option::is_some).await.ok().and_then(|end| *end);
                let (status, at) = end.ok_or_else(|| Failure::new(5, "sandbox is shut down: not found"))?;
                reply(&api::WaitSandboxResponse { exit_status: status, exited_at: Some(stamp::of(Some(at))) })
            }
            Method::ShutdownSandbox => {
                let id = decode::<api::ShutdownSandboxRequest>(payload)?.sandbox_id;
                self.sandboxes.with(&id, |sandbox| Sandboxes::end(sandbox, 0))?;
                self.go().await;
                reply(&api::ShutdownSandboxResponse {})
            }
            _ => self.about_sandbox(method, payload).await,
        }
    }

    async fn about_sandbox(&self, method: Method, payload: Bytes) -> Result<Bytes, Failure> {
        match method {
            Method::SandboxStatus => {
                let id = decode::<api::SandboxStatusRequest>(payload)?.sandbox_id;
                let (made_at, end) = self.sandboxes.with(&id, |s| (s.made_at, *s.end.borrow()))?;
                reply(&api::SandboxStatusResponse {
                    sandbox_id: id,
                    pid: self.pid,
                    state: if end.is_none() { "SANDBOX_READY" } else { "SANDBOX_NOTREADY" }.into(),
                    created_at: Some(stamp::of(Some(made_at))),
                    exited_at: end.map(|(_, at)| stamp::of(Some(at))),
                    ..api::SandboxStatusResponse::default()
                })
            }
            Method::PingSandbox => {
                let id = decode::<api::PingRequest>(payload)?.sandbox_id;
                self.sandboxes.with(&id, |_| ())?;
                reply(&api::PingResponse {})
            }
            Method::SandboxMetrics => {
                let id = decode::<api::SandboxMetricsRequest>(payload)?.sandbox_id;
                self.sandboxes.with(&id, |_| ())?;
                let numbers = Metrics {
                    pids: Some(PidsStat { current: 1, ..PidsStat::default() }),
                    ..Metrics::default()
                };
                let data = Some(shimkeeper_proto::pack(&numbers));
                reply(&api::SandboxMetricsResponse {
                    metrics: Some(Metric { id, data, ..Metric::default() }),
                })
            }
            _ => self.hollow(method).await,
        }
    }

    /// Answers that say nothing. Only the platform is told, and only the shutdown does something.
    async fn hollow(&self, method: Method) -> Result<Bytes, Failure> {
        match method {
            Method::Platform => {
                let (os, architecture) = ("linux".to_owned(), "amd64".to_owned());
                let platform = Some(Platform { os, architecture, ..Platform::default() });
                return reply(&api::PlatformResponse { platform });
            }
            Method::ShutdownSandbox => self.go().await,
            _ => {}
        }
        Ok(Bytes::new())
    }

    async fn go(&self) {
        self.stop_listening().await;
        self.halt.stopping.cancel();
    }
}
