// SPDX-License-Identifier: Apache-2.0
//! All records of a store at once, as an export holds them: one JSON object, whose fields are only ever added to.
//!
//! ```json
//! {"format":"shimkeeper-store","version":1,
//!  "namespaces":[{"name":"default","labels":{"owner":"me"}}],
//!  "containers":[{"namespace":"default","id":"web","runtime":{"name":"io.containerd.runc.v2"},
//!    "spec":{"type_url":"types.containerd.io/opencontainers/runtime-spec/1/Spec","text":"{\"ociVersion\": …"}, …}],
//!  "leases":[], "sandboxes":[]}
//! ```

use serde::{Deserialize, Serialize};

use crate::container::Container;
use crate::error::{Named, StoreError};
use crate::form::{ContainerForm, LeaseForm, NamespaceForm, SandboxForm};
use crate::index::Counts;
use crate::kind::RecordKind;
use crate::lease::{Held, Lease, Resource};
use crate::namespace::NamespaceRecord;
use crate::record::Record;
use crate::sandbox::Sandbox;

const FORMAT: &str = "shimkeeper-store";
const VERSION: u32 = 1;

/// All records of a store, or what was saved of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    pub(crate) namespaces: Vec<NamespaceRecord>,
    pub(crate) containers: Vec<(String, Container)>,
    pub(crate) leases: Vec<(String, Held)>,
    pub(crate) sandboxes: Vec<(String, Sandbox)>,
}

/// Why records could not be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It is not what an export looks like.
    #[error("this is no export of a store")]
    Form(#[source] serde_json::Error),
    /// It is an export of another kind or of a later version.
    #[error("this is no export that this version can read: it is {format:?}, version {version}")]
    Format {
        /// What it says it is.
        format: String,
        /// And of which version.
        version: u32,
    },
    /// A record in it could not have been made.
    #[error("the record of the {record} in namespace {:?} cannot be kept", record.namespace)]
    Record {
        /// Which.
        record: Named,
        /// Why.
        #[source]
        source: Box<StoreError>,
    },
    /// The store has another record of that name.
    #[error("the store already has another record of the {record} in namespace {:?}", record.namespace)]
    Conflict {
        /// Which.
        record: Named,
    },
    /// The store could not take them.
    #[error("the records could not be written")]
    Store(#[source] StoreError),
}

/// A record that was left out, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// What is left out: a record by its name, or a place.
    pub what: String,
    /// Why.
    pub why: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    format: String,
    version: u32,
    #[serde(default)]
    namespaces: Vec<NamespaceForm>,
    #[serde(default)]
    containers: Vec<Of<ContainerForm>>,
    #[serde(default)]
    leases: Vec<Of<LeaseForm>>,
    #[serde(default)]
    sandboxes: Vec<Of<SandboxForm>>,
}

/// What an export says first; the rest is read only if this is known.
#[derive(Deserialize)]
struct Head {
    format: String,
    version: u32,
}

/// A record with the namespace it is in.
#[derive(Serialize, Deserialize)]
struct Of<F> {
    namespace: String,
    #[serde(flatten)]
    record: F,
}

// === impl Records ===

impl Records {
    /// The JSON of an export.
    #[expect(clippy::missing_panics_doc, reason = "nothing in a form fails")]
    pub fn to_json(&self) -> String {
        fn forms<'a, R, F: From<&'a R>>(of: &'a [(String, R)]) -> Vec<Of<F>> {
            let form = |(namespace, record): &'a (String, R)| Of {
                namespace: namespace.clone(),
                record: record.into(),
            };
            of.iter().map(form).collect()
        }
        let form = Form {
            format: FORMAT.to_owned(),
            version: VERSION,
            namespaces: self.namespaces.iter().map(Into::into).collect(),
            containers: forms(&self.containers),
            leases: forms(&self.leases),
            sandboxes: forms(&self.sandboxes),
        };
        let mut json =
            serde_json::to_string_pretty(&form).expect("forms have text keys and no failing values");
        json.push('\n');
        json
    }

    /// Reads an export.
    ///
    /// # Errors
    /// [`ImportError::Form`] and [`ImportError::Format`].
    pub fn from_json(json: &[u8]) -> Result<Self, ImportError> {
        fn records<F, R: From<F>>(of: Vec<Of<F>>) -> Vec<(String, R)> {
            of.into_iter().map(|one| (one.namespace, one.record.into())).collect()
        }
        let head: Head = serde_json::from_slice(json).map_err(ImportError::Form)?;
        if head.format != FORMAT || head.version != VERSION {
            return Err(ImportError::Format { format: head.format, version: head.version });
        }
        let form: Form = serde_json::from_slice(json).map_err(ImportError::Form)?;
        Ok(Self {
            namespaces: form.namespaces.into_iter().map(Into::into).collect(),
            containers: records(form.containers),
            leases: records(form.leases),
            sandboxes: records(form.sandboxes),
        })
    }

    /// How many there are.
    pub fn counts(&self) -> Counts {
        Counts {
            namespaces: self.namespaces.len(),
            containers: self.containers.len(),
            leases: self.leases.len(),
            sandboxes: self.sandboxes.len(),
        }
    }

    /// The containers, with their namespaces.
    pub fn containers(&self) -> impl Iterator<Item = (&str, &Container)> {
        self.containers.iter().map(|(namespace, container)| (namespace.as_str(), container))
    }

    /// The leases, with their namespaces and what they hold.
    pub fn leases(&self) -> impl Iterator<Item = (&str, &Lease, impl Iterator<Item = &Resource>)> {
        self.leases.iter().map(|(namespace, held)| (namespace.as_str(), &held.lease, held.resources.iter()))
    }

    /// Adds what `other` has and this has not, by name.
    pub(crate) fn supplement(&mut self, other: Self) {
        fn add<R: Record>(to: &mut Vec<(String, R)>, from: Vec<(String, R)>) -> usize {
            let before = to.len();
            for (namespace, record) in from {
                if !to.iter().any(|(other, one)| *other == namespace && one.id() == record.id()) {
                    to.push((namespace, record));
                }
            }
            to.len() - before
        }
        for record in other.namespaces {
            if !self.namespaces.iter().any(|one| one.name == record.name) {
                self.namespaces.push(record);
            }
        }
        add(&mut self.containers, other.containers);
        add(&mut self.leases, other.leases);
        add(&mut self.sandboxes, other.sandboxes);
    }

    /// Checks every record as if a client had just made it.
    pub(crate) fn check(&self) -> Result<(), ImportError> {
        let refuse = |kind, namespace: &str, id: &str, source: StoreError| {
            let record = Named { kind, namespace: namespace.to_owned(), id: id.to_owned() };
            ImportError::Record { record, source: Box::new(source) }
        };
        let named = |namespace: &str| {
            NamespaceRecord { name: namespace.to_owned(), ..NamespaceRecord::default() }.check()
        };
        for record in &self.namespaces {
            record.check().map_err(|error| refuse(RecordKind::Namespace, &record.name, "", error))?;
        }
        for (namespace, record) in &self.containers {
            let checked = named(namespace).and_then(|()| record.check().map_err(StoreError::Invalid));
            checked.map_err(|error| refuse(RecordKind::Container, namespace, &record.id, error))?;
        }
        for (namespace, record) in &self.sandboxes {
            let checked = named(namespace).and_then(|()| record.check().map_err(StoreError::Invalid));
            checked.map_err(|error| refuse(RecordKind::Sandbox, namespace, &record.id, error))?;
        }
        for (namespace, held) in &self.leases {
            let checked = named(namespace).and_then(|()| held.check());
            checked.map_err(|error| refuse(RecordKind::Lease, namespace, &held.lease.id, error))?;
        }
        Ok(())
    }
}
