// SPDX-License-Identifier: Apache-2.0
//! The containers that were asked for last, whole. A client that starts a container asks for its record four times
//! within milliseconds, and then seldom again.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::container::Container;

/// What all of them may take, in bytes: some thirty records of usual size.
const BUDGET: usize = 256 * 1024;
/// Most entries, so that looking through them stays cheap.
const ENTRIES: usize = 64;

/// Whole containers, the one asked for last first.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    entries: VecDeque<Entry>,
    size: usize,
}

#[derive(Debug)]
struct Entry {
    namespace: Box<str>,
    container: Arc<Container>,
    size: usize,
}

impl Cache {
    /// Keeps a container, in place of its earlier self. One that would take half of what there is is not kept.
    pub(crate) fn put(&mut self, namespace: &str, container: Arc<Container>) {
        self.forget(namespace, &container.id);
        let size = size_of(&container);
        if size > BUDGET / 2 {
            return;
        }
        self.size += size;
        self.entries.push_front(Entry { namespace: namespace.into(), container, size });
        while self.size > BUDGET || self.entries.len() > ENTRIES {
            let oldest = self.entries.pop_back();
            self.size -= oldest.map_or(0, |entry| entry.size);
        }
    }

    /// The container, if it is kept.
    pub(crate) fn get(&self, namespace: &str, id: &str) -> Option<Arc<Container>> {
        let at = self.position(namespace, id)?;
        Some(Arc::clone(&self.entries[at].container))
    }

    pub(crate) fn forget(&mut self, namespace: &str, id: &str) {
        if let Some(entry) = self.position(namespace, id).and_then(|at| self.entries.remove(at)) {
            self.size -= entry.size;
        }
    }

    fn position(&self, namespace: &str, id: &str) -> Option<usize> {
        self.entries.iter().position(|entry| entry.container.id == id && *entry.namespace == *namespace)
    }
}

/// About what it takes.
fn size_of(container: &Container) -> usize {
    let any = |any: &shimkeeper_core::Any| any.type_url.len() + any.value.len();
    let labels: usize = container.labels.iter().map(|(key, value)| key.len() + value.len() + 64).sum();
    let extensions: usize = container.extensions.iter().map(|(key, value)| key.len() + any(value) + 96).sum();
    let spec = container.spec.as_ref().map_or(0, any);
    let options = container.runtime.options.as_ref().map_or(0, any);
    labels + extensions + spec + options + container.image.len() + 512
}

#[cfg(test)]
mod tests {
    use shimkeeper_core::Any;

    use super::*;

    fn container(id: &str, spec: usize) -> Arc<Container> {
        let spec = Some(Any::new("spec", vec![b'x'; spec]));
        Arc::new(Container { id: id.to_owned(), spec, ..Container::default() })
    }

    #[test]
    fn what_was_put_last_is_kept_within_the_budget() {
        let mut cache = Cache::default();
        for n in 0..1000 {
            cache.put("ns", container(&format!("c{n}"), 10_000));
            assert!(cache.size <= BUDGET);
        }
        assert!(cache.get("ns", "c999").is_some() && cache.get("ns", "c980").is_some());
        assert!(cache.get("ns", "c0").is_none());
        cache.put("ns", container("huge", BUDGET));
        assert!(cache.get("ns", "huge").is_none() && cache.get("ns", "c999").is_some());
        for n in 0..1000 {
            cache.forget("ns", &format!("c{n}"));
        }
        assert_eq!((cache.size, cache.entries.len()), (0, 0));
    }

    #[test]
    fn a_new_self_replaces_the_old_one_and_namespaces_are_kept_apart() {
        let mut cache = Cache::default();
        cache.put("a", container("c", 1));
        cache.put("b", container("c", 2));
        cache.put("a", container("c", 3));
        let length = |namespace| cache.get(namespace, "c").unwrap().spec.as_ref().unwrap().value.len();
        assert_eq!((length("a"), length("b")), (3, 2));
        assert_eq!(cache.entries.len(), 2);
    }
}
