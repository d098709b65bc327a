// SPDX-License-Identifier: Apache-2.0
//! What a filter sees of an event: `namespace`, `topic`, and `event.` with the fields of the payload.
//!
//! As in the original only texts and flags have names here; numbers and times cannot be asked for. A text that
//! is empty counts as absent, a flag never does. The payload is decoded at the first question about it and never
//! again; a payload that cannot be decoded, or is of a type not listed here, has no fields.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use prost::Message;
use shimkeeper_core::Any;
use shimkeeper_proto::containerd::events as wire;

use crate::envelope::Envelope;
use crate::filter::{Adaptor, map_key};

/// A decoded payload.
#[derive(Debug)]
pub(crate) struct Decoded(Box<dyn Fields>);

/// A message whose fields can be asked for by name.
trait Fields: fmt::Debug + Send + Sync {
    /// `path` is what is left of the path; empty if it ends at the message itself.
    fn field(&self, path: &[String]) -> Option<&str>;
}

type Decode = fn(Bytes) -> Option<Box<dyn Fields>>;

macro_rules! fields {
    ($($message:path { $($name:ident: $how:ident),* })*) => {
        $(impl Fields for $message {
            fn field(&self, path: &[String]) -> Option<&str> {
                let (first, rest) = path.split_first()?;
                match first.as_str() {
                    $(stringify!($name) => $how(&self.$name, rest),)*
                    _ => None,
                }
            }
        })*
    };
}

macro_rules! payloads {
    ($($full_name:literal => $message:path,)*) => {
        /// How a payload of each type is decoded, by the full name of the type.
        const DECODERS: &[(&str, Decode)] = &[$(($full_name, decode::<$message>)),*];
    };
}

payloads! {
    "containerd.events.TaskCreate" => wire::TaskCreate,
    "containerd.events.TaskStart" => wire::TaskStart,
    "containerd.events.TaskExit" => wire::TaskExit,
    "containerd.events.TaskDelete" => wire::TaskDelete,
    "containerd.events.TaskOOM" => wire::TaskOom,
    "containerd.events.TaskExecAdded" => wire::TaskExecAdded,
    "containerd.events.TaskExecStarted" => wire::TaskExecStarted,
    "containerd.events.TaskPaused" => wire::TaskPaused,
    "containerd.events.TaskResumed" => wire::TaskResumed,
    "containerd.events.TaskCheckpointed" => wire::TaskCheckpointed,
    "containerd.events.ContainerCreate" => wire::ContainerCreate,
    "containerd.events.ContainerUpdate" => wire::ContainerUpdate,
    "containerd.events.ContainerDelete" => wire::ContainerDelete,
    "containerd.events.NamespaceCreate" => wire::NamespaceCreate,
    "containerd.events.NamespaceUpdate" => wire::NamespaceUpdate,
    "containerd.events.NamespaceDelete" => wire::NamespaceDelete,
    "containerd.events.SandboxCreate" => wire::SandboxCreate,
    "containerd.events.SandboxStart" => wire::SandboxStart,
    "containerd.events.SandboxExit" => wire::SandboxExit,
}

fields! {
    wire::TaskCreate { container_id: text, bundle: text, io: message, checkpoint: text }
    wire::TaskIo { stdin: text, stdout: text, stderr: text, terminal: flag }
    wire::TaskStart { container_id: text }
    wire::TaskExit { container_id: text, id: text }
    wire::TaskDelete { container_id: text, id: text }
    wire::TaskOom { container_id: text }
    wire::TaskExecAdded { container_id: text, exec_id: text }
    wire::TaskExecStarted { container_id: text, exec_id: text }
    wire::TaskPaused { container_id: text }
    wire::TaskResumed { container_id: text }
    wire::TaskCheckpointed { container_id: text, checkpoint: text }
    wire::ContainerCreate { id: text, image: text, runtime: message }
    wire::container_create::Runtime { name: text }
    wire::ContainerUpdate { id: text, image: text, labels: map, snapshot_key: text }
    wire::ContainerDelete { id: text }
    wire::NamespaceCreate { name: text, labels: map }
    wire::NamespaceUpdate { name: text, labels: map }
    wire::NamespaceDelete { name: text }
    wire::SandboxCreate { sandbox_id: text }
    wire::SandboxStart { sandbox_id: text }
    wire::SandboxExit { sandbox_id: text }
}

fn decode<M: Message + Default + Fields + 'static>(value: Bytes) -> Option<Box<dyn Fields>> {
    let message = M::decode(value).ok()?;
    Some(Box::new(message))
}

fn text<'a>(value: &'a str, rest: &[String]) -> Option<&'a str> {
    (rest.is_empty() && !value.is_empty()).then_some(value)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the macro hands every kind of field over alike")]
fn flag(value: &bool, rest: &[String]) -> Option<&'static str> {
    rest.is_empty().then_some(if *value { "true" } else { "false" })
}

#[expect(clippy::ref_option, reason = "the macro hands every kind of field over alike")]
fn message<'a>(value: &'a Option<impl Fields>, rest: &[String]) -> Option<&'a str> {
    value.as_ref()?.field(rest)
}

fn map<'a>(value: &'a BTreeMap<String, String>, rest: &[String]) -> Option<&'a str> {
    value.get(&*map_key(rest)).map(String::as_str)
}

// === impl Decoded ===

impl Decoded {
    pub(crate) fn from_event(event: &Any) -> Option<Self> {
        let (_, decode) = DECODERS.iter().find(|(full_name, _)| event.is(full_name))?;
        decode(event.value.clone()).map(Self)
    }
}

impl Adaptor for Envelope {
    fn field(&self, path: &[String]) -> Option<&str> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "namespace" => text(self.namespace().as_str(), rest),
            "topic" => text(self.topic().as_str(), rest),
            "event" => self.decoded()?.0.field(rest),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
