// SPDX-License-Identifier: Apache-2.0
//! What a shim's `start` wants on its standard input. There are two forms and no negotiation, so the one that a
//! binary takes is found out and remembered. Why the older one is tried first: `docs/adr/0002`.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use prost::Message as _;
use shimkeeper_core::Any;
use shimkeeper_proto::containerd::runtime::bootstrap::v1::{BootstrapParams, Extension, LogLevel};
use shimkeeper_proto::google::protobuf;

use super::{Ended, LaunchContext, LaunchError};
use crate::resolve::{FileVersion, ShimBinary};

/// A form of the standard input of `start`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// The runtime options as an `Any`, or nothing: shims before 2.3.
    Options,
    /// `containerd.runtime.bootstrap.v1.BootstrapParams`: shims of 2.3 and later.
    Bootstrap,
}

/// Which form each binary took. Share one among all launches.
#[derive(Debug)]
pub struct DialectMemory {
    first: Dialect,
    may_change: bool,
    known: Mutex<HashMap<FileVersion, Dialect>>,
}

/// More binaries than a host has; beyond this everything is forgotten.
const MAX_KNOWN: usize = 256;

/// What shims of 2.3 and later say to options without, or with other, bootstrap parameters.
const WANTS_BOOTSTRAP: [&str; 2] = ["deprecated API", "bootstrap parameters do not match"];

/// What a shim says that parses its input as options, and takes an unknown type for an error.
const WANTS_OPTIONS: [&str; 2] = ["unmarshal", "proto:"];

// === impl DialectMemory ===

impl DialectMemory {
    /// Finds out by itself.
    pub fn new() -> Self {
        Self::starting_with(Dialect::Options)
    }

    /// Finds out by itself, trying this form first.
    pub fn starting_with(first: Dialect) -> Self {
        Self { first, may_change: true, known: Mutex::default() }
    }

    /// Uses this form, and never another.
    pub fn always(only: Dialect) -> Self {
        Self { first: only, may_change: false, known: Mutex::default() }
    }

    /// The form to try first with this binary.
    pub(super) fn first_for(&self, binary: &ShimBinary) -> Dialect {
        let version = binary.version();
        version.and_then(|version| self.known().get(&version).copied()).unwrap_or(self.first)
    }

    /// The form to try after one has failed like this; `None` if the form was not the reason.
    pub(super) fn after(&self, tried: Dialect, error: &LaunchError) -> Option<Dialect> {
        let LaunchError::Exit { ended: Ended::Code(_), output, .. } = error else { return None };
        let (other, complaints) = match tried {
            Dialect::Options => (Dialect::Bootstrap, WANTS_BOOTSTRAP),
            Dialect::Bootstrap => (Dialect::Options, WANTS_OPTIONS),
        };
        let refused = complaints.iter().any(|complaint| output.contains(complaint));
        (self.may_change && refused).then_some(other)
    }

    pub(super) fn remember(&self, binary: &ShimBinary, dialect: Dialect) {
        let Some(version) = binary.version() else { return };
        let mut known = self.known();
        if known.len() >= MAX_KNOWN && !known.contains_key(&version) {
            known.clear();
        }
        known.insert(version, dialect);
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<FileVersion, Dialect>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for DialectMemory {
    fn default() -> Self {
        Self::new()
    }
}

/// The standard input; `None` if it is to be empty.
pub(super) fn encode(dialect: Dialect, cx: &LaunchContext, options: Option<&Any>) -> Option<Vec<u8>> {
    let options = options.map(to_proto);
    match dialect {
        Dialect::Options => {
            if let Some(dir) = &cx.socket_dir {
                tracing::debug!(
                    namespace = %cx.key.namespace, task = %cx.key.id, dir = %dir.display(),
                    "a shim of before 2.3 takes no socket directory"
                );
            }
            options.map(|options| options.encode_to_vec())
        }
        Dialect::Bootstrap => Some(bootstrap_params(cx, options).encode_to_vec()),
    }
}

pub(super) fn to_proto(any: &Any) -> protobuf::Any {
    protobuf::Any { type_url: any.type_url.clone(), value: any.value.clone() }
}

fn bootstrap_params(cx: &LaunchContext, options: Option<protobuf::Any>) -> BootstrapParams {
    let level = if cx.debug { LogLevel::Debug } else { LogLevel::Info };
    BootstrapParams {
        instance_id: cx.key.id.to_string(),
        namespace: cx.key.namespace.to_string(),
        log_level: level.into(),
        containerd_version: cx.version.clone(),
        containerd_ttrpc_address: text_of(&cx.ttrpc_address),
        containerd_grpc_address: cx.address.clone(),
        containerd_binary: text_of(&cx.publish_binary),
        extensions: options.map(|options| Extension { value: Some(options) }).into_iter().collect(),
        socket_dir: cx.socket_dir.as_deref().map(text_of),
    }
}

/// A protobuf string must be UTF-8; such paths are.
fn text_of(path: &Path) -> String {
    String::from_utf8_lossy(path.as_os_str().as_bytes()).into_owned()
}
