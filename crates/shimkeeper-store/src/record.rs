// SPDX-License-Identifier: Apache-2.0
//! What all four kinds of records have in common: a name, and a form in the database.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use shimkeeper_core::Any;

use crate::index::Change;
use crate::kind::RecordKind;

/// A record as the database holds it: what is small as JSON, and a client's spec as the bytes it came as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) meta: String,
    pub(crate) spec: Option<Bytes>,
}

impl Row {
    pub(crate) fn of(form: &impl Serialize, spec: Option<Bytes>) -> Self {
        let meta = serde_json::to_string(form).expect("forms have text keys and no failing values");
        Self { meta, spec }
    }

    /// A spec without its payload, and the payload, which is kept beside the rest.
    pub(crate) fn split(spec: Option<&Any>) -> (Option<Any>, Option<Bytes>) {
        let bare = spec.map(|any| Any::new(any.type_url.clone(), ""));
        (bare, spec.map(|any| any.value.clone()))
    }

    /// The other way round.
    pub(crate) fn join(&self, spec: &mut Option<Any>) {
        if let (Some(spec), Some(value)) = (spec, &self.spec) {
            spec.value.clone_from(value);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.meta.len() + self.spec.as_ref().map_or(0, Bytes::len)
    }
}

/// One of the four kinds.
pub(crate) trait Record: Sized {
    const KIND: RecordKind;

    /// Its id; empty for a namespace.
    fn id(&self) -> &str;

    fn to_row(&self) -> Row;

    fn from_row(namespace: &str, id: &str, row: &Row) -> Result<Self, serde_json::Error>;

    /// What readers get to know of it once it is on disk.
    fn into_change(self: Arc<Self>, namespace: &str, revision: u64) -> Change;
}
