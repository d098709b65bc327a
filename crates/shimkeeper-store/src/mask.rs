// SPDX-License-Identifier: Apache-2.0
//! Field masks: which parts of a record an update is about.

use std::collections::BTreeMap;

/// One path of a mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Path<'a> {
    /// `labels.<key>`; the key may itself contain dots.
    Label(&'a str),
    /// `extensions.<key>`.
    Extension(&'a str),
    /// A field by its name.
    Field(&'a str),
}

impl<'a> Path<'a> {
    pub(crate) fn of(path: &'a str) -> Self {
        if let Some(key) = path.strip_prefix("labels.") {
            Self::Label(key)
        } else if let Some(key) = path.strip_prefix("extensions.") {
            Self::Extension(key)
        } else {
            Self::Field(path)
        }
    }
}

/// The paths of a mask; an empty one stands for `all`.
pub(crate) fn paths<'a>(mask: &'a [String], all: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
    let all = if mask.is_empty() { all } else { &[] };
    all.iter().copied().chain(mask.iter().map(String::as_str))
}

/// Sets one key to what the request has for it. A key that the request does not have is taken away; containerd
/// keeps such an extension, empty.
pub(crate) fn set<V: Clone>(of: &mut BTreeMap<String, V>, to: &BTreeMap<String, V>, key: &str) {
    match to.get(key) {
        Some(value) => of.insert(key.to_owned(), value.clone()),
        None => of.remove(key),
    };
}
