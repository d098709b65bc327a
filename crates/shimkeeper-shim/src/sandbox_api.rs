// SPDX-License-Identifier: Apache-2.0
//! The sandbox service, which shims may serve beside the Task API: a sandbox is what their containers are in, for
//! example a virtual machine. A shim without it answers "not implemented".

use shimkeeper_proto::containerd::runtime::sandbox::v1::{self as sandbox, SANDBOX_SERVICE};

use crate::TaskApi;
use crate::method::api_methods;

api_methods! {
    service, "containerd.runtime.sandbox.v1.Sandbox";

    /// Makes the sandbox, not yet started.
    create_sandbox = CreateSandbox(sandbox::CreateSandboxRequest) -> sandbox::CreateSandboxResponse;
    /// Starts it: from now on it takes containers.
    start_sandbox = StartSandbox(sandbox::StartSandboxRequest) -> sandbox::StartSandboxResponse;
    /// What can run in it.
    sandbox_platform = Platform(sandbox::PlatformRequest) -> sandbox::PlatformResponse;
    /// Stops it.
    stop_sandbox = StopSandbox(sandbox::StopSandboxRequest) -> sandbox::StopSandboxResponse;
    /// Waits for its end, and says how it came.
    wait_sandbox = WaitSandbox(sandbox::WaitSandboxRequest) -> sandbox::WaitSandboxResponse;
    /// The state of it.
    sandbox_status = SandboxStatus(sandbox::SandboxStatusRequest) -> sandbox::SandboxStatusResponse;
    /// Whether the shim answers.
    ping_sandbox = PingSandbox(sandbox::PingRequest) -> sandbox::PingResponse;
    /// Ends it and its shim.
    shutdown_sandbox = ShutdownSandbox(sandbox::ShutdownSandboxRequest) -> sandbox::ShutdownSandboxResponse;
    /// What it uses.
    sandbox_metrics = SandboxMetrics(sandbox::SandboxMetricsRequest) -> sandbox::SandboxMetricsResponse;
}

/// There is one version of it, whatever the Task API's.
fn service(_: TaskApi) -> &'static str {
    SANDBOX_SERVICE
}

#[cfg(test)]
mod tests {
    use shimkeeper_proto::containerd::runtime::sandbox::v1::SANDBOX_METHODS;

    use super::*;
    use crate::method::Method;

    #[test]
    fn the_table_is_the_service() {
        assert_eq!(NAMES, SANDBOX_METHODS);
        let path = <method::Platform as Method>::GRPC_PATH;
        assert_eq!(path, format!("/{SANDBOX_SERVICE}/Platform"));
    }
}
