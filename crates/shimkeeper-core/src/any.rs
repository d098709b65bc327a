// SPDX-License-Identifier: Apache-2.0
//! A typed payload that belongs to somebody else: passed on byte for byte, never decoded and encoded again.

use bytes::Bytes;

/// A payload and the name of its type.
///
/// `type_url` is the bare full name that containerd uses (`containerd.events.TaskExit`), without the
/// `type.googleapis.com/` prefix; [`Any::is`] accepts both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Any {
    /// Full name of the payload's type.
    pub type_url: String,
    /// The payload as it came.
    pub value: Bytes,
}

impl Any {
    /// A payload of the given type.
    pub fn new(type_url: impl Into<String>, value: impl Into<Bytes>) -> Self {
        Self { type_url: type_url.into(), value: value.into() }
    }

    /// Whether the payload is of the type with this full name, however its URL is prefixed.
    pub fn is(&self, full_name: &str) -> bool {
        self.type_url.rsplit('/').next() == Some(full_name) || self.type_url == full_name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_type_url_are_recognised() {
        for url in ["containerd.events.TaskExit", "type.googleapis.com/containerd.events.TaskExit"] {
            assert!(Any::new(url, "").is("containerd.events.TaskExit"), "{url}");
        }
        assert!(!Any::new("containerd.events.TaskExits", "").is("containerd.events.TaskExit"));
        let spec = "types.containerd.io/opencontainers/runtime-spec/1/Spec";
        assert!(Any::new(spec, "").is(spec), "a full name may itself contain slashes");
    }
}
