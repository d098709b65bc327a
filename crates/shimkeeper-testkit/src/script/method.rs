// SPDX-License-Identifier: Apache-2.0
//! The RPCs of the task service and of the sandbox service, as scripts name them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An RPC of the task service or of the sandbox service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are those of the protocol")]
pub enum Method {
    /// In a rule: whichever it is.
    Any,
    State,
    Create,
    Start,
    Delete,
    Pids,
    Pause,
    Resume,
    Checkpoint,
    Kill,
    Exec,
    ResizePty,
    #[serde(rename = "CloseIO")]
    CloseIo,
    Update,
    Wait,
    Stats,
    Connect,
    Shutdown,
    CreateSandbox,
    StartSandbox,
    Platform,
    StopSandbox,
    WaitSandbox,
    SandboxStatus,
    PingSandbox,
    ShutdownSandbox,
    SandboxMetrics,
}

impl Method {
    /// Every RPC of the task service.
    pub const ALL: [Self; 17] = [
        Self::State,
        Self::Create,
        Self::Start,
        Self::Delete,
        Self::Pids,
        Self::Pause,
        Self::Resume,
        Self::Checkpoint,
        Self::Kill,
        Self::Exec,
        Self::ResizePty,
        Self::CloseIo,
        Self::Update,
        Self::Wait,
        Self::Stats,
        Self::Connect,
        Self::Shutdown,
    ];

    /// Every RPC of the sandbox service.
    pub const SANDBOX: [Self; 9] = [
        Self::CreateSandbox,
        Self::StartSandbox,
        Self::Platform,
        Self::StopSandbox,
        Self::WaitSandbox,
        Self::SandboxStatus,
        Self::PingSandbox,
        Self::ShutdownSandbox,
        Self::SandboxMetrics,
    ];

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Any => "*",
            Self::State => "State",
            Self::Create => "Create",
            Self::Start => "Start",
            Self::Delete => "Delete",
            Self::Pids => "Pids",
            Self::Pause => "Pause",
            Self::Resume => "Resume",
            Self::Checkpoint => "Checkpoint",
            Self::Kill => "Kill",
            Self::Exec => "Exec",
            Self::ResizePty => "ResizePty",
            Self::CloseIo => "CloseIO",
            Self::Update => "Update",
            Self::Wait => "Wait",
            Self::Stats => "Stats",
            Self::Connect => "Connect",
            Self::Shutdown => "Shutdown",
            Self::CreateSandbox => "CreateSandbox",
            Self::StartSandbox => "StartSandbox",
            Self::Platform => "Platform",
            Self::StopSandbox => "StopSandbox",
            Self::WaitSandbox => "WaitSandbox",
            Self::SandboxStatus => "SandboxStatus",
            Self::PingSandbox => "PingSandbox",
            Self::ShutdownSandbox => "ShutdownSandbox",
            Self::SandboxMetrics => "SandboxMetrics",
        }
    }

    /// The RPC of the task service with this name on the wire.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name() == name)
    }

    /// The RPC of the sandbox service with this name on the wire.
    pub(crate) fn from_sandbox_name(name: &str) -> Option<Self> {
        Self::SANDBOX.into_iter().find(|method| method.name() == name)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
