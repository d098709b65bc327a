// SPDX-License-Identifier: Apache-2.0
//! What every service stands on.

use shimkeeper::Manager;
use shimkeeper_store::Store;

/// What the server says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// Its version.
    pub version: String,
    /// Source revision it was built from.
    pub revision: String,
    /// Identity of the installation; the same after a restart.
    pub uuid: String,
}

pub(crate) struct Inner {
    pub(crate) manager: Manager,
    pub(crate) store: Store,
    pub(crate) about: About,
}
