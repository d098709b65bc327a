// SPDX-License-Identifier: Apache-2.0
//! A mount that the shim makes for the container's root file system.

/// A mount, in the words of `mount(8)`; made by the shim, not by us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mount {
    /// File system type (`overlay`, `bind`, …).
    pub kind: String,
    /// What is mounted.
    pub source: String,
    /// Where, relative to the root file system; empty for its root.
    pub target: String,
    /// Options, as `mount -o` takes them.
    pub options: Vec<String>,
}
