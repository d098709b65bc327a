// SPDX-License-Identifier: Apache-2.0
//! The record of a container: what it consists of, which of it is valid, and how it is changed.

use std::collections::BTreeMap;
use std::time::SystemTime;

use bytes::Bytes;
use shimkeeper_core::Any;

use crate::error::{Invalid, StoreError};
use crate::mask::{self, Path};
use crate::validate;

/// Labels by key.
pub type Labels = BTreeMap<String, String>;

/// What runs a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runtime {
    /// As `io.containerd.runc.v2`, or the path of a shim's binary.
    pub name: String,
    /// What the client wants the shim to be told.
    pub options: Option<Any>,
}

/// The record of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// Its id, unique in its namespace.
    pub id: String,
    /// Labels. One with an empty value is not kept.
    pub labels: Labels,
    /// The image it is said to be made of; never looked at.
    pub image: String,
    /// What runs it.
    pub runtime: Runtime,
    /// What its process looks like: OCI's JSON, as it came.
    pub spec: Option<Any>,
    /// Who keeps its root file system; never looked at.
    pub snapshotter: String,
    /// Where that is; never looked at.
    pub snapshot_key: String,
    /// When it was created. Set by the store.
    pub created_at: Option<SystemTime>,
    /// When it was last changed. Set by the store.
    pub updated_at: Option<SystemTime>,
    /// What clients keep here for themselves.
    pub extensions: BTreeMap<String, Any>,
    /// The sandbox it belongs to, or empty.
    pub sandbox: String,
}

/// What an update without a mask replaces.
const REPLACED: [&str; 5] = ["labels", "spec", "extensions", "image", "snapshotkey"];

impl Container {
    /// Checks everything that a client may get wrong.
    pub(crate) fn check(&self) -> Result<(), Invalid> {
        validate::identifier(&self.id).map_err(|problem| problem.within("container.ID"))?;
        if self.extensions.contains_key("") {
            return Err(Invalid::EmptyExtensionKey { of: "container" });
        }
        validate::labels(&self.labels).map_err(|problem| problem.within("containers.Labels"))?;
        if self.runtime.name.is_empty() {
            return Err(Invalid::Unset { field: "container.Runtime.Name" });
        }
        if !self.snapshot_key.is_empty() && self.snapshotter.is_empty() {
            return Err(Invalid::NoSnapshotter);
        }
        Ok(())
    }

    /// Copies what is only a part of a larger buffer, such as that of the request it came in: what is kept is to take
    /// what it needs.
    pub(crate) fn let_go_of_buffers(&mut self) {
        let options = self.runtime.options.as_mut();
        for any in self.extensions.values_mut().chain(&mut self.spec).chain(options) {
            any.value = Bytes::copy_from_slice(&any.value);
        }
    }

    /// The record after a change to what `mask` names, or to all that may change if it names nothing.
    pub(crate) fn changed(mut self, to: &Self, mask: &[String]) -> Result<Self, StoreError> {
        if mask.is_empty() {
            let immutable = |field| StoreError::Invalid(Invalid::Immutable { field });
            if self.snapshotter != to.snapshotter {
                return Err(immutable("container.Snapshotter"));
            }
            if self.runtime.name != to.runtime.name {
                return Err(immutable("container.Runtime.Name"));
            }
        }
        for path in mask::paths(mask, &REPLACED) {
            match Path::of(path) {
                Path::Label(key) => mask::set(&mut self.labels, &to.labels, key),
                Path::Extension(key) => mask::set(&mut self.extensions, &to.extensions, key),
                Path::Field("labels") => self.labels.clone_from(&to.labels),
                Path::Field("spec") => self.spec.clone_from(&to.spec),
                Path::Field("extensions") => self.extensions.clone_from(&to.extensions),
                Path::Field("image") => self.image.clone_from(&to.image),
                Path::Field("snapshotkey") => self.snapshot_key.clone_from(&to.snapshot_key),
                Path::Field(_) => {
                    let (path, on) = (path.to_owned(), format!("{:?}", self.id));
                    return Err(StoreError::Invalid(Invalid::Field { path, on }));
                }
            }
        }
        self.check().map_err(|problem| StoreError::Invalid(problem.within("update failed validation")))?;
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_holds_no_larger_buffer() {
        let request = Bytes::from(vec![b'x'; 8192]);
        let part = |at| Some(Any::new("t", request.slice(at..at + 10)));
        let mut container = Container {
            spec: part(0),
            runtime: Runtime { name: "r".into(), options: part(10) },
            extensions: [("e".to_owned(), Any::new("t", request.slice(20..30)))].into(),
            ..Container::default()
        };
        let before = container.clone();
        container.let_go_of_buffers();
        assert_eq!(container, before);
        drop(before);
        assert!(request.is_unique(), "somebody holds a part of it");
    }
}
