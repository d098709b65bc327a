// SPDX-License-Identifier: Apache-2.0
//! Any text, taken for an export.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| shimkeeper_fuzz::store::export(data));
