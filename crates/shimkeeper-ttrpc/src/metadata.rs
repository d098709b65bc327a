// SPDX-License-Identifier: Apache-2.0
//! Metadata beside a request: an ordered list of keys and values, with the keys in lower case.
//!
//! Go's lookup lowers the key it looks for but not the keys it received, so a key sent with a capital
//! letter would never be found there. Hence a [`Metadata`] cannot hold one.

use thiserror::Error;

use crate::message::KeyValue;

/// Carries the containerd namespace of a call.
pub const NAMESPACE_KEY: &str = "containerd-namespace-ttrpc";
/// W3C trace context: which span the call belongs to.
pub const TRACEPARENT_KEY: &str = "traceparent";
/// W3C trace context: what tracing systems add of their own.
pub const TRACESTATE_KEY: &str = "tracestate";
/// W3C baggage.
pub const BAGGAGE_KEY: &str = "baggage";

/// Keys and values that travel beside a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata(Vec<KeyValue>);

/// A key that may not be sent.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("metadata key {key:?} is not made of a-z, 0-9, '-', '_' and '.'")]
pub struct MetadataError {
    /// The key.
    pub key: String,
}

impl Metadata {
    /// No metadata.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a value under a key the program knows; capital letters of the key are lowered.
    ///
    /// # Panics
    /// If the key has characters that [`insert`](Self::insert) refuses.
    pub fn with(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.insert(key, value).expect("a key written in the source is made of the permitted characters");
        self
    }

    /// Adds a value under a key; capital letters of the key are lowered, earlier values of the key stay.
    pub fn insert(&mut self, key: &str, value: impl Into<String>) -> Result<(), MetadataError> {
        let permitted = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
        if key.is_empty() || !key.bytes().all(permitted) {
            return Err(MetadataError { key: key.to_owned() });
        }
        self.0.push(KeyValue { key: key.to_ascii_lowercase(), value: value.into() });
        Ok(())
    }

    /// The first value of a key, however the sender wrote its case.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value)
    }

    /// All entries, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|entry| (entry.key.as_str(), entry.value.as_str()))
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The entries as the envelope lists them.
    pub(crate) fn entries(&self) -> &[KeyValue] {
        &self.0
    }

    /// Takes what a peer sent, as it sent it.
    pub(crate) fn received(entries: Vec<KeyValue>) -> Self {
        Self(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_lowered_and_values_are_left_alone() {
        let metadata = Metadata::new().with("Containerd-Namespace-TTRPC", "K8s.io");
        assert_eq!(metadata.iter().collect::<Vec<_>>(), [(NAMESPACE_KEY, "K8s.io")]);
    }

    #[test]
    fn keys_with_other_characters_are_refused() {
        for key in ["", "a b", "ä", "a\n", "a:b", "a\0"] {
            assert_eq!(Metadata::new().insert(key, "v"), Err(MetadataError { key: key.into() }), "{key:?}");
        }
    }

    #[test]
    fn the_first_of_several_values_counts_and_all_are_kept() {
        let mut metadata = Metadata::new().with("k", "1");
        metadata.insert("k", "2").unwrap();
        assert_eq!((metadata.get("K"), metadata.iter().count()), (Some("1"), 2));
        assert_eq!(metadata.get("other"), None);
    }

    #[test]
    fn a_received_key_is_found_in_any_case() {
        let entry = KeyValue { key: "TraceParent".into(), value: "00-…".into() };
        assert_eq!(Metadata::received(vec![entry]).get(TRACEPARENT_KEY), Some("00-…"));
    }
}
