// SPDX-License-Identifier: Apache-2.0
//! What the targets of the store crate do with their bytes. Ordinary tests run the same over generated input.

use shimkeeper_store::{Records, parse_containerd};

/// Whatever is in a file that is taken for containerd's, reading it ends, and what comes out can be exported.
pub fn containerd(data: &[u8]) {
    let Ok((records, _)) = parse_containerd(data) else { return };
    let json = records.to_json();
    assert_eq!(Records::from_json(json.as_bytes()).expect("an export can be read"), records);
}

/// Whatever is taken for an export is refused or reads back as itself.
pub fn export(data: &[u8]) {
    let Ok(records) = Records::from_json(data) else { return };
    let again = Records::from_json(records.to_json().as_bytes()).expect("an export can be read");
    assert_eq!(again, records);
}
