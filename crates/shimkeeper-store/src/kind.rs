// SPDX-License-Identifier: Apache-2.0
//! The four kinds of records.

use std::fmt;

/// What a record is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RecordKind {
    /// A namespace.
    Namespace,
    /// A container.
    Container,
    /// A lease.
    Lease,
    /// A sandbox.
    Sandbox,
}

impl RecordKind {
    /// Every kind.
    pub(crate) const ALL: [Self; 4] = [Self::Namespace, Self::Container, Self::Lease, Self::Sandbox];

    /// The word for it, here and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Namespace => "namespace",
            Self::Container => "container",
            Self::Lease => "lease",
            Self::Sandbox => "sandbox",
        }
    }
}

impl fmt::Display for RecordKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
