// SPDX-License-Identifier: Apache-2.0
//! The record of a namespace: which of it is valid, and how it is changed.

use crate::container::Labels;
use crate::error::{Invalid, Named, StoreError};
use crate::kind::RecordKind;
use crate::mask::{self, Path};
use crate::validate;

/// The record of a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespaceRecord {
    /// Its name.
    pub name: String,
    /// Labels.
    pub labels: Labels,
}

impl NamespaceRecord {
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        validate::identifier(&self.name).map_err(StoreError::Invalid)?;
        let labels = validate::labels(&self.labels);
        labels.map_err(|problem| StoreError::Invalid(problem.within("namespace.Labels")))
    }

    pub(crate) fn named(&self) -> Named {
        Named { kind: RecordKind::Namespace, namespace: self.name.clone(), id: String::new() }
    }

    pub(crate) fn without_empty_labels(mut self) -> Self {
        self.labels.retain(|_, value| !value.is_empty());
        self
    }

    pub(crate) fn changed(mut self, to: &Self, mask: &[String]) -> Result<Self, StoreError> {
        for path in mask::paths(mask, &["labels"]) {
            match Path::of(path) {
                Path::Label(key) => mask::set(&mut self.labels, &to.labels, key),
                Path::Field("labels") => self.labels.clone_from(&to.labels),
                Path::Extension(_) | Path::Field(_) => {
                    let (path, on) = (path.to_owned(), format!("namespace {:?}", self.name));
                    return Err(StoreError::Invalid(Invalid::Field { path, on }));
                }
            }
        }
        Ok(self)
    }
}
