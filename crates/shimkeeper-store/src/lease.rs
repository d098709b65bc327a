// SPDX-License-Identifier: Apache-2.0
//! The record of a lease: a client's word that it is at work, and what it does not want to lose meanwhile. Nothing
//! is ever collected here, so a lease protects nothing; but clients make one for every container, and list them.

use std::collections::BTreeSet;
use std::time::SystemTime;

use shimkeeper_core::time;

use crate::container::Labels;
use crate::error::{Invalid, StoreError};
use crate::validate;

/// The label that says until when a lease lasts, in RFC 3339.
const EXPIRE: &str = "containerd.io/gc.expire";

/// The record of a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its id, unique in its namespace.
    pub id: String,
    /// When it was created.
    pub created_at: SystemTime,
    /// Labels.
    pub labels: Labels,
}

/// Something that a lease holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Resource {
    /// `content`, `images`, `ingests`, or `snapshots/` and the name of a snapshotter.
    pub kind: String,
    /// Its id among those.
    pub id: String,
}

/// A lease and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) lease: Lease,
    pub(crate) resources: BTreeSet<Resource>,
}

impl Lease {
    /// Whether its time is over. A label that is no moment means that it has none, as for containerd.
    pub(crate) fn has_expired(&self, now: SystemTime) -> bool {
        let until = self.labels.get(EXPIRE).and_then(|text| time::from_rfc3339(text));
        until.is_some_and(|until| until < now)
    }
}

impl Held {
    /// Checks everything that a client may get wrong.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        validate::lease_id(&self.lease.id).map_err(StoreError::Invalid)?;
        let labels = validate::labels(&self.lease.labels);
        labels.map_err(|problem| StoreError::Invalid(problem.within("lease.Labels")))?;
        self.resources.iter().try_for_each(Resource::check)
    }
}

impl Resource {
    /// Checks that it is of a type that containerd knows.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let (kind, rest) = self.kind.split_once('/').map_or((&*self.kind, None), |(a, b)| (a, Some(b)));
        let fits = match kind {
            "content" | "images" | "ingests" => rest.is_none(),
            "snapshots" => rest.is_some_and(|name| !name.is_empty() && !name.contains('/')),
            _ => return Err(StoreError::ResourceType { kind: self.kind.clone() }),
        };
        if !fits {
            return Err(StoreError::Invalid(Invalid::ResourceKind { kind: self.kind.clone() }));
        }
        if self.id.is_empty() {
            return Err(StoreError::Invalid(Invalid::EmptyResource));
        }
        Ok(())
    }
}
