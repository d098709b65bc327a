// SPDX-License-Identifier: Apache-2.0
//! Any text, taken as a filter.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| shimkeeper_fuzz::events::filter(data));
