// SPDX-License-Identifier: Apache-2.0
//! `-info`: what the runtime says of itself.

use std::io::Write;
use std::process::ExitCode;

use prost::Message;
use shimkeeper_proto::containerd::types::{RuntimeInfo, RuntimeVersion};

use super::Failed;

pub(super) fn run() -> Result<ExitCode, Failed> {
    let version = RuntimeVersion { version: env!("CARGO_PKG_VERSION").into(), revision: String::new() };
    let info = RuntimeInfo {
        name: "io.containerd.fake.v2".into(),
        version: Some(version),
        ..RuntimeInfo::default()
    };
    let written = std::io::stdout().write_all(&info.encode_to_vec());
    written.map(|()| ExitCode::SUCCESS).map_err(|e| format!("writing the answer: {e}"))
}
