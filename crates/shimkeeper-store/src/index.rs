// SPDX-License-Identifier: Apache-2.0
//! What readers know without asking the database: which records there are, and of each what a filter can ask for.
//! Specs, options and extensions are not here: with them, a container would take several times the memory.
//!
//! Owned by the store behind a lock; changed by the writer alone, after what it says is on disk.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use shimkeeper_events::Adaptor;
use shimkeeper_events::filter::map_key;

use crate::cache::Cache;
use crate::container::{Container, Labels};
use crate::lease::{Held, Lease};
use crate::sandbox::Sandbox;

/// Everything readers know.
#[derive(Debug, Default)]
pub(crate) struct Index {
    pub(crate) namespaces: BTreeMap<String, Scope>,
    pub(crate) cache: Cache,
}

/// What a namespace holds.
#[derive(Debug, Default)]
pub(crate) struct Scope {
    pub(crate) labels: Labels,
    pub(crate) containers: BTreeMap<Box<str>, ContainerHead>,
    pub(crate) leases: BTreeMap<Box<str>, Arc<Held>>,
    pub(crate) sandboxes: BTreeMap<Box<str>, Labels>,
}

/// What a filter can ask of a container, and which life of the record it is.
#[derive(Debug)]
pub(crate) struct ContainerHead {
    pub(crate) revision: u64,
    labels: Labels,
    image: Box<str>,
    runtime: Box<str>,
}

/// How many records there are of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Namespaces.
    pub namespaces: usize,
    /// Containers.
    pub containers: usize,
    /// Leases.
    pub leases: usize,
    /// Sandboxes.
    pub sandboxes: usize,
}

/// What has changed on disk.
#[derive(Debug)]
pub(crate) enum Change {
    Namespace { name: String, labels: Labels },
    Container { namespace: String, container: Arc<Container>, revision: u64 },
    Lease { namespace: String, held: Arc<Held> },
    Sandbox { namespace: String, sandbox: Arc<Sandbox> },
    NamespaceGone { name: String },
    ContainerGone { namespace: String, id: String },
    LeaseGone { namespace: String, id: String },
    SandboxGone { namespace: String, id: String },
}

// === impl Index ===

impl Index {
    /// How many records there are of each kind.
    pub(crate) fn counts(&self) -> Counts {
        let none = Counts { namespaces: self.namespaces.len(), ..Counts::default() };
        self.namespaces.values().fold(none, |counts, scope| Counts {
            containers: counts.containers + scope.containers.len(),
            leases: counts.leases + scope.leases.len(),
            sandboxes: counts.sandboxes + scope.sandboxes.len(),
            ..counts
        })
    }

    pub(crate) fn apply(&mut self, change: Change) {
        match change {
            Change::Namespace { name, labels } => self.namespaces.entry(name).or_default().labels = labels,
            Change::Container { namespace, container, revision } => {
                let head = ContainerHead::of(&container, revision);
                self.scope(&namespace).containers.insert(container.id.as_str().into(), head);
                self.cache.put(&namespace, container);
            }
            Change::Lease { namespace, held } => {
                self.scope(&namespace).leases.insert(held.lease.id.as_str().into(), held);
            }
            Change::Sandbox { namespace, sandbox } => {
                self.scope(&namespace).sandboxes.insert(sandbox.id.as_str().into(), sandbox.labels.clone());
            }
            Change::NamespaceGone { name } => {
                self.namespaces.remove(&name);
            }
            Change::ContainerGone { namespace, id } => {
                self.scope(&namespace).containers.remove(&*id);
                self.cache.forget(&namespace, &id);
            }
            Change::LeaseGone { namespace, id } => {
                self.scope(&namespace).leases.remove(&*id);
            }
            Change::SandboxGone { namespace, id } => {
                self.scope(&namespace).sandboxes.remove(&*id);
            }
        }
    }

    /// A namespace exists as soon as something is written in it.
    fn scope(&mut self, namespace: &str) -> &mut Scope {
        match self.namespaces.entry(namespace.to_owned()) {
            Entry::Occupied(scope) => scope.into_mut(),
            Entry::Vacant(place) => place.insert(Scope::default()),
        }
    }

    /// The container's head, if there is such a container.
    pub(crate) fn container(&self, namespace: &str, id: &str) -> Option<&ContainerHead> {
        self.namespaces.get(namespace)?.containers.get(id)
    }
}

impl ContainerHead {
    fn of(container: &Container, revision: u64) -> Self {
        Self {
            revision,
            labels: container.labels.clone(),
            image: container.image.as_str().into(),
            runtime: container.runtime.name.as_str().into(),
        }
    }
}

// === what filters ask ===

/// A container with its id.
pub(crate) struct AskedContainer<'a>(pub(crate) &'a str, pub(crate) &'a ContainerHead);

/// Whatever has nothing but an id and labels.
pub(crate) struct AskedLabels<'a>(pub(crate) &'a str, pub(crate) &'a Labels);

impl Adaptor for AskedContainer<'_> {
    fn field(&self, path: &[String]) -> Option<&str> {
        let Self(id, head) = self;
        match path.split_first()? {
            (field, []) if field == "id" => set(id),
            (field, []) if field == "image" => set(&head.image),
            (field, [name]) if field == "runtime" && name == "name" => set(&head.runtime),
            (field, key) if field == "labels" => label(&head.labels, key),
            _ => None,
        }
    }
}

impl Adaptor for AskedLabels<'_> {
    fn field(&self, path: &[String]) -> Option<&str> {
        let Self(id, labels) = self;
        match path.split_first()? {
            (field, []) if field == "id" => set(id),
            (field, key) if field == "labels" => label(labels, key),
            _ => None,
        }
    }
}

impl<'a> From<&'a Lease> for AskedLabels<'a> {
    fn from(lease: &'a Lease) -> Self {
        Self(&lease.id, &lease.labels)
    }
}

fn set(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn label<'a>(labels: &'a Labels, key: &[String]) -> Option<&'a str> {
    if key.is_empty() {
        return None;
    }
    labels.get(&*map_key(key)).map(String::as_str)
}
