// SPDX-License-Identifier: Apache-2.0
//! What clients may get wrong in any record.

use std::collections::BTreeMap;

use shimkeeper_core::{IdError, check_identifier};

use crate::error::Invalid;

/// Longest label: key and value together, in bytes.
const MAX_LABEL: usize = 4096;
/// Longest id of a lease, in bytes.
const MAX_LEASE_ID: usize = 256;
/// How much of a key that is too long is shown.
const SHOWN_KEY: usize = 64;

/// Checks an id or the name of a namespace.
pub(crate) fn identifier(text: &str) -> Result<(), Invalid> {
    let id = || text.to_owned();
    check_identifier("identifier", text).map_err(|error| match error {
        IdError::Empty { .. } => Invalid::IdEmpty,
        IdError::TooLong { .. } => Invalid::IdTooLong { id: id() },
        IdError::Pattern { .. } | IdError::Reserved { .. } => Invalid::IdPattern { id: id() },
    })
}

/// Checks the id of a lease. Clients make their own, and they are no identifiers: one may end in a dash.
pub(crate) fn lease_id(text: &str) -> Result<(), Invalid> {
    let plain = !text.is_empty() && text.len() <= MAX_LEASE_ID && !text.chars().any(char::is_control);
    if plain { Ok(()) } else { Err(Invalid::LeaseId { id: text.chars().take(SHOWN_KEY).collect() }) }
}

/// Checks every label.
pub(crate) fn labels(labels: &BTreeMap<String, String>) -> Result<(), Invalid> {
    let too_long = labels.iter().find(|(key, value)| key.len() + value.len() > MAX_LABEL);
    too_long.map_or(Ok(()), |(key, value)| {
        let shown = key.floor_char_boundary(SHOWN_KEY);
        Err(Invalid::LabelTooLong { len: key.len() + value.len(), key: key[..shown].to_owned() })
    })
}
