// SPDX-License-Identifier: Apache-2.0
//! The record of a sandbox.

use std::collections::BTreeMap;
use std::time::SystemTime;

use shimkeeper_core::Any;

use crate::container::{Labels, Runtime};
use crate::error::{Invalid, StoreError};
use crate::mask::{self, Path};
use crate::validate;

/// The record of a sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sandbox {
    /// Its id, unique in its namespace.
    pub id: String,
    /// Labels. One with an empty value is not kept.
    pub labels: Labels,
    /// What runs it.
    pub runtime: Runtime,
    /// What the client wants, in a form that only it and the runtime know.
    pub spec: Option<Any>,
    /// Which controller it belongs to.
    pub sandboxer: String,
    /// What clients keep here for themselves.
    pub extensions: BTreeMap<String, Any>,
    /// When it was created. Set by the store.
    pub created_at: Option<SystemTime>,
    /// When it was last changed. Set by the store.
    pub updated_at: Option<SystemTime>,
}

/// What an update without a mask replaces.
const REPLACED: [&str; 4] = ["labels", "extensions", "spec", "runtime"];

impl Sandbox {
    /// Checks everything that a client may get wrong.
    pub(crate) fn check(&self) -> Result<(), Invalid> {
        validate::identifier(&self.id).map_err(|problem| problem.within("invalid sandbox ID"))?;
        if self.extensions.contains_key("") {
            return Err(Invalid::EmptyExtensionKey { of: "sandbox" });
        }
        validate::labels(&self.labels).map_err(|problem| problem.within("sandbox.Labels"))
    }

    /// The record after a change to what `mask` names, or to all that may change if it names nothing.
    pub(crate) fn changed(mut self, to: &Self, mask: &[String]) -> Result<Self, StoreError> {
        if mask.is_empty() && self.runtime.name != to.runtime.name {
            return Err(StoreError::Invalid(Invalid::Immutable { field: "sandbox.Runtime.Name" }));
        }
        for path in mask::paths(mask, &REPLACED) {
            match Path::of(path) {
                Path::Label(key) => mask::set(&mut self.labels, &to.labels, key),
                Path::Extension(key) => mask::set(&mut self.extensions, &to.extensions, key),
                Path::Field("labels") => self.labels.clone_from(&to.labels),
                Path::Field("extensions") => self.extensions.clone_from(&to.extensions),
                Path::Field("spec") => self.spec.clone_from(&to.spec),
                Path::Field("runtime") => self.runtime.clone_from(&to.runtime),
                Path::Field(_) => {
                    let (path, on) = (path.to_owned(), format!("sandbox {:?}", self.id));
                    return Err(StoreError::Invalid(Invalid::Field { path, on }));
                }
            }
        }
        self.check().map_err(|problem| StoreError::Invalid(problem.within("update failed validation")))?;
        Ok(self)
    }
}
