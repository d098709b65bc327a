// SPDX-License-Identifier: Apache-2.0
//! Records as JSON, in the database and in exports. Plain types of their own, so that a change of a record is not
//! silently a change of what is on disk. Fields are only ever added.
//!
//! A payload that is text is shown as text, so that an export can be read by people; any other is base64.

use std::collections::BTreeMap;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use shimkeeper_core::{Any, time};

use crate::container::{Container, Labels, Runtime};
use crate::lease::{Held, Lease, Resource};
use crate::namespace::NamespaceRecord;
use crate::sandbox::Sandbox;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct AnyForm {
    type_url: String,
    #[serde(flatten)]
    value: Payload,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Payload {
    Text(String),
    Base64(#[serde(serialize_with = "to_base64", deserialize_with = "from_base64")] Bytes),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RuntimeForm {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    options: Option<AnyForm>,
}

/// A moment in RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment(pub(crate) SystemTime);

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ContainerForm {
    pub(crate) id: String,
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    labels: Labels,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    image: String,
    runtime: RuntimeForm,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    spec: Option<AnyForm>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    snapshotter: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    snapshot_key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created_at: Option<Moment>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    updated_at: Option<Moment>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    extensions: BTreeMap<String, AnyForm>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    sandbox: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SandboxForm {
    pub(crate) id: String,
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    labels: Labels,
    runtime: RuntimeForm,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    spec: Option<AnyForm>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    sandboxer: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created_at: Option<Moment>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    updated_at: Option<Moment>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    extensions: BTreeMap<String, AnyForm>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LeaseForm {
    pub(crate) id: String,
    created_at: Moment,
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    labels: Labels,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    resources: Vec<ResourceForm>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResourceForm {
    #[serde(rename = "type")]
    kind: String,
    id: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NamespaceForm {
    pub(crate) name: String,
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    labels: Labels,
}

// === payloads and moments ===

fn to_base64<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(bytes))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    let text = String::deserialize(deserializer)?;
    STANDARD.decode(text).map(Bytes::from).map_err(D::Error::custom)
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&time::to_rfc3339(self.0))
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bad = || D::Error::custom(format!("{text:?} is no moment in the form of RFC 3339"));
        time::from_rfc3339(&text).map(Self).ok_or_else(bad)
    }
}

impl From<&Any> for AnyForm {
    fn from(any: &Any) -> Self {
        let value = match std::str::from_utf8(&any.value) {
            Ok(text) => Payload::Text(text.to_owned()),
            Err(_) => Payload::Base64(any.value.clone()),
        };
        Self { type_url: any.type_url.clone(), value }
    }
}

impl From<AnyForm> for Any {
    fn from(form: AnyForm) -> Self {
        let value = match form.value {
            Payload::Text(text) => Bytes::from(text),
            Payload::Base64(bytes) => bytes,
        };
        Self { type_url: form.type_url, value }
    }
}

fn anys_to_forms(anys: &BTreeMap<String, Any>) -> BTreeMap<String, AnyForm> {
    anys.iter().map(|(key, any)| (key.clone(), any.into())).collect()
}

fn forms_to_anys(forms: BTreeMap<String, AnyForm>) -> BTreeMap<String, Any> {
    forms.into_iter().map(|(key, form)| (key, form.into())).collect()
}

// === records ===

impl From<&Runtime> for RuntimeForm {
    fn from(runtime: &Runtime) -> Self {
        Self { name: runtime.name.clone(), options: runtime.options.as_ref().map(Into::into) }
    }
}

impl From<RuntimeForm> for Runtime {
    fn from(form: RuntimeForm) -> Self {
        Self { name: form.name, options: form.options.map(Into::into) }
    }
}

impl From<&Container> for ContainerForm {
    fn from(container: &Container) -> Self {
        Self {
            id: container.id.clone(),
            labels: container.labels.clone(),
            image: container.image.clone(),
            runtime: (&container.runtime).into(),
            spec: container.spec.as_ref().map(Into::into),
            snapshotter: container.snapshotter.clone(),
            snapshot_key: container.snapshot_key.clone(),
            created_at: container.created_at.map(Moment),
            updated_at: container.updated_at.map(Moment),
            extensions: anys_to_forms(&container.extensions),
            sandbox: container.sandbox.clone(),
        }
    }
}

impl From<ContainerForm> for Container {
    fn from(form: ContainerForm) -> Self {
        Self {
            id: form.id,
            labels: form.labels,
            image: form.image,
            runtime: form.runtime.into(),
            spec: form.spec.map(Into::into),
            snapshotter: form.snapshotter,
            snapshot_key: form.snapshot_key,
            created_at: form.created_at.map(|moment| moment.0),
            updated_at: form.updated_at.map(|moment| moment.0),
            extensions: forms_to_anys(form.extensions),
            sandbox: form.sandbox,
        }
    }
}

impl From<&Sandbox> for SandboxForm {
    fn from(sandbox: &Sandbox) -> Self {
        Self {
            id: sandbox.id.clone(),
            labels: sandbox.labels.clone(),
            runtime: (&sandbox.runtime).into(),
            spec: sandbox.spec.as_ref().map(Into::into),
            sandboxer: sandbox.sandboxer.clone(),
            created_at: sandbox.created_at.map(Moment),
            updated_at: sandbox.updated_at.map(Moment),
            extensions: anys_to_forms(&sandbox.extensions),
        }
    }
}

impl From<SandboxForm> for Sandbox {
    fn from(form: SandboxForm) -> Self {
        Self {
            id: form.id,
            labels: form.labels,
            runtime: form.runtime.into(),
            spec: form.spec.map(Into::into),
            sandboxer: form.sandboxer,
            extensions: forms_to_anys(form.extensions),
            created_at: form.created_at.map(|moment| moment.0),
            updated_at: form.updated_at.map(|moment| moment.0),
        }
    }
}

impl From<&Held> for LeaseForm {
    fn from(held: &Held) -> Self {
        let form =
            |resource: &Resource| ResourceForm { kind: resource.kind.clone(), id: resource.id.clone() };
        Self {
            id: held.lease.id.clone(),
            created_at: Moment(held.lease.created_at),
            labels: held.lease.labels.clone(),
            resources: held.resources.iter().map(form).collect(),
        }
    }
}

impl From<LeaseForm> for Held {
    fn from(form: LeaseForm) -> Self {
        let resource = |form: ResourceForm| Resource { kind: form.kind, id: form.id };
        Self {
            lease: Lease { id: form.id, created_at: form.created_at.0, labels: form.labels },
            resources: form.resources.into_iter().map(resource).collect(),
        }
    }
}

impl From<&NamespaceRecord> for NamespaceForm {
    fn from(record: &NamespaceRecord) -> Self {
        Self { name: record.name.clone(), labels: record.labels.clone() }
    }
}

impl From<NamespaceForm> for NamespaceRecord {
    fn from(form: NamespaceForm) -> Self {
        Self { name: form.name, labels: form.labels }
    }
}
