// SPDX-License-Identifier: Apache-2.0
//! `-info`: what a shim's binary tells about itself and the runtime behind it.

use std::collections::BTreeMap;
use std::time::Duration;

use prost::Message as _;
use shimkeeper_core::Any;
use shimkeeper_proto::containerd::types;
use shimkeeper_proto::google::protobuf;

use super::process::{self, End, Outcome};
use super::{Action, Ended, LaunchError, command, dialect};
use crate::resolve::ShimBinary;

/// What a shim's binary tells about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuntimeInfo {
    /// Name of the runtime.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The source it was built from.
    pub revision: String,
    /// The options, as it understood them.
    pub options: Option<Any>,
    /// Features of the OCI runtime behind it.
    pub features: Option<Any>,
    /// Anything else.
    pub annotations: BTreeMap<String, String>,
}

/// What Go's flag parser says to a flag that a binary does not have. Shims before 2.0 have no `-info`.
const UNKNOWN_FLAG: &str = "flag provided but not defined: -info";

impl ShimBinary {
    /// Asks the binary about itself.
    ///
    /// # Errors
    /// [`LaunchError`]; [`LaunchError::Unsupported`] if the binary is older than the question.
    ///
    /// # Cancel safety
    /// Dropping the future kills the process group; nothing is left.
    pub async fn info(&self, options: Option<&Any>, deadline: Duration) -> Result<RuntimeInfo, LaunchError> {
        let mut command = command::plain(self);
        command.arg(Action::Info.as_str());
        let stdin = options.map(|options| dialect::to_proto(options).encode_to_vec());
        let (outcome, group) = process::run(command, stdin, deadline)
            .await
            .map_err(|failed| LaunchError::of_process(Action::Info, self, failed))?;
        let answer = told(&outcome, deadline);
        // Nothing is meant to stay behind a question.
        group.settle(false).await;
        answer
    }
}

fn told(outcome: &Outcome, deadline: Duration) -> Result<RuntimeInfo, LaunchError> {
    if outcome.end != End::Exited(Ended::Code(0)) {
        return Err(match LaunchError::of_end(Action::Info, outcome, deadline, None) {
            LaunchError::Exit { output, .. } if output.contains(UNKNOWN_FLAG) => {
                LaunchError::Unsupported { action: Action::Info }
            }
            error => error,
        });
    }
    let info = types::RuntimeInfo::decode(outcome.stdout.as_slice())
        .map_err(|_| LaunchError::garbage(Action::Info, "RuntimeInfo", &outcome.stdout))?;
    let version = info.version.unwrap_or_default();
    let any = |any: protobuf::Any| Any { type_url: any.type_url, value: any.value };
    Ok(RuntimeInfo {
        name: info.name,
        version: version.version,
        revision: version.revision,
        options: info.options.map(any),
        features: info.features.map(any),
        annotations: info.annotations,
    })
}
