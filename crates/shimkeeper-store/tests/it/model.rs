// SPDX-License-Identifier: Apache-2.0
//! Any order of operations, beside a model that is a map, with the store closed and opened in between.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use shimkeeper_core::{Any, HasKind as _, Kind};
use shimkeeper_store::{Container, Labels};

use crate::support::{SPEC, Site, block_on, container, filters, ns};

#[derive(Clone, Debug)]
enum Operation {
    Create(String, u8, Vec<u8>),
    Image(String, u8),
    Label(String, String),
    Delete(String),
    Lease(String),
    Reopen,
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let id = || prop_oneof![Just("a"), Just("a-1"), Just("a.1"), Just("b")].prop_map(str::to_owned);
    let spec = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..20),
        prop::collection::vec(any::<u8>(), 9000..9100)
    ];
    let operation = prop_oneof![
        4 => (id(), any::<u8>(), spec).prop_map(|(id, image, spec)| Operation::Create(id, image, spec)),
        2 => (id(), any::<u8>()).prop_map(|(id, image)| Operation::Image(id, image)),
        2 => (id(), "[a-c]?").prop_map(|(id, value)| Operation::Label(id, value)),
        3 => id().prop_map(Operation::Delete),
        1 => id().prop_map(Operation::Lease),
        1 => Just(Operation::Reopen),
    ];
    prop::collection::vec(operation, 1..25)
}

/// What the model knows of a container.
type Known = (String, Vec<u8>, Labels);

async fn run(operations: Vec<Operation>) {
    let site = Site::new();
    let ns = ns("n");
    let mut store = site.open();
    let mut model: BTreeMap<String, Known> = BTreeMap::new();
    let mut leases = BTreeSet::new();
    for operation in operations {
        let containers = store.containers(&ns);
        let kind = |known: bool, error: Kind| if known { None } else { Some(error) };
        let (expected, outcome) = match operation {
            Operation::Create(id, image, spec) => {
                let image = image.to_string();
                let spec_any = Some(Any::new(SPEC, spec.clone()));
                let record = Container { image: image.clone(), spec: spec_any, ..container(&id) };
                let expected = kind(!model.contains_key(&id), Kind::AlreadyExists);
                if expected.is_none() {
                    model.insert(id, (image, spec, Labels::new()));
                }
                (expected, containers.create(record).await.map(drop))
            }
            Operation::Image(id, image) => {
                let record = Container { image: image.to_string(), ..container(&id) };
                let expected = kind(model.contains_key(&id), Kind::NotFound);
                model.entry(id).and_modify(|known| known.0 = image.to_string());
                (expected, containers.update(record, &["image".to_owned()]).await.map(drop))
            }
            Operation::Label(id, value) => {
                let record = Container { labels: [("l".to_owned(), value.clone())].into(), ..container(&id) };
                let expected = kind(model.contains_key(&id), Kind::NotFound);
                if let Some(known) = model.get_mut(&id) {
                    known.2.insert("l".to_owned(), value);
                    known.2.retain(|_, value| !value.is_empty());
                }
                (expected, containers.update(record, &["labels.l".to_owned()]).await.map(drop))
            }
            Operation::Delete(id) => {
                let expected = kind(model.remove(&id).is_some(), Kind::NotFound);
                (expected, containers.delete(&id).await)
            }
            Operation::Lease(id) => {
                let expected = kind(leases.insert(id.clone()), Kind::AlreadyExists);
                (expected, store.leases(&ns).create(&id, Labels::new()).await.map(drop))
            }
            Operation::Reopen => {
                drop(store);
                store = site.open();
                (None, Ok(()))
            }
        };
        assert_eq!(outcome.err().map(|error| error.kind()), expected);
        let found = store.containers(&ns).list(&filters(&[])).await.unwrap();
        let known = |one: &Container| {
            (one.image.clone(), one.spec.as_ref().unwrap().value.to_vec(), one.labels.clone())
        };
        let found: BTreeMap<_, _> = found.iter().map(|one| (one.id.clone(), known(one))).collect();
        assert_eq!(found, model);
        let found = store.leases(&ns).list(&filters(&[]));
        assert_eq!(found.into_iter().map(|lease| lease.id).collect::<BTreeSet<_>>(), leases);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_the_store(operations in operations()) {
        block_on(run(operations));
    }
}
