// SPDX-License-Identifier: Apache-2.0
//! A container's limits, as `update` changes them.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use shimkeeper_core::Any;

/// The type of OCI Linux resources in an `Any`.
const TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";

/// New limits of a container; what is not set stays as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resources {
    limits: Limits,
    annotations: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq)]
enum Limits {
    Named(Map<String, Value>),
    Json(Bytes),
}

impl Default for Limits {
    fn default() -> Self {
        Self::Named(Map::new())
    }
}

impl Resources {
    /// No change yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Limits as the OCI runtime specification describes them (JSON of `linux.resources`), passed on as they are.
    pub fn from_json(json: impl Into<Bytes>) -> Self {
        Self { limits: Limits::Json(json.into()), annotations: BTreeMap::new() }
    }

    /// With annotations for the shim.
    pub fn annotations(mut self, annotations: BTreeMap<String, String>) -> Self {
        self.annotations = annotations;
        self
    }

    /// At most this much memory, in bytes.
    pub fn memory(self, bytes: u64) -> Self {
        self.set("memory", json!({ "limit": bytes }))
    }

    /// At most this many CPUs' worth of time.
    pub fn cpus(self, cpus: f64) -> Self {
        const PERIOD_MICROS: f64 = 100_000.0;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a cast saturates, and the kernel checks the number"
        )]
        let quota = (cpus * PERIOD_MICROS).round() as i64;
        self.set("cpu", json!({ "quota": quota, "period": 100_000 }))
    }

    /// At most this many processes and threads.
    pub fn pids(self, limit: u64) -> Self {
        self.set("pids", json!({ "limit": limit }))
    }

    fn set(self, name: &str, value: Value) -> Self {
        let mut limits = match self.limits {
            Limits::Named(limits) => limits,
            Limits::Json(_) => Map::new(),
        };
        limits.insert(name.to_owned(), value);
        Self { limits: Limits::Named(limits), ..self }
    }

    pub(crate) fn to_annotations(&self) -> BTreeMap<String, String> {
        self.annotations.clone()
    }

    pub(crate) fn to_any(&self) -> Any {
        let json = match &self.limits {
            Limits::Named(limits) => Value::Object(limits.clone()).to_string().into(),
            Limits::Json(json) => json.clone(),
        };
        Any::new(TYPE, json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_spelled_as_the_specification_does() {
        let any = Resources::new().memory(1 << 20).cpus(1.5).pids(7).to_any();
        let value: Value = serde_json::from_slice(&any.value).unwrap();
        let cpu = json!({ "quota": 150_000, "period": 100_000 });
        assert_eq!(value, json!({ "memory": { "limit": 1_048_576 }, "cpu": cpu, "pids": { "limit": 7 } }));
    }

    #[test]
    fn json_is_passed_on_byte_for_byte() {
        let text = r#"{ "unified": {"memory.high":"1"} }"#;
        assert_eq!(Resources::from_json(text).to_any().value, text);
    }
}
