// SPDX-License-Identifier: Apache-2.0
//! The checked-in sources are what `/proto` generates, byte for byte.

use std::collections::BTreeSet;
use std::path::Path;

use shimkeeper_protogen::{generate, read, source_dir};

#[test]
fn checked_in_sources_are_up_to_date() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let generated = generate(workspace).unwrap();
    let checked_in = read(&source_dir(workspace)).unwrap();

    let stale: BTreeSet<_> = generated
        .keys()
        .chain(checked_in.keys())
        .filter(|path| generated.get(*path) != checked_in.get(*path))
        .collect();
    assert!(stale.is_empty(), "out of date, run `cargo xtask gen`: {stale:?}");
    assert!(generated.len() > 20, "the generator found no packages");
}
