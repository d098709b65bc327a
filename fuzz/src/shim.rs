// SPDX-License-Identifier: Apache-2.0
//! What the targets for a shim's files and answers do with their bytes.

use shimkeeper_shim::mounts::parse_mountinfo;
use shimkeeper_shim::{Address, BootstrapParams};

/// Whatever a binary prints, an answer that is taken for one can be dialled and written down.
pub fn bootstrap(data: &[u8]) {
    let Ok(params) = BootstrapParams::parse(data) else { return };
    let announced = params.address.announced(params.api);
    assert!(!announced.is_empty() && !announced.chars().any(char::is_control), "{announced:?}");
    assert_eq!(Address::parse(&announced, params.api).as_ref(), Ok(&params.address), "reads back");
    assert!(params.address.path().is_none_or(std::path::Path::is_absolute), "{announced:?}");
}

/// A table is read whole or refused: no line of it may go missing.
pub fn mountinfo(data: &[u8]) {
    let Ok(mounts) = parse_mountinfo(data) else { return };
    let lines = data.split(|b| *b == b'\n').filter(|line| !line.is_empty()).count();
    assert_eq!(mounts.len(), lines);
    assert!(mounts.iter().all(|mount| mount.path.is_absolute()));
}
