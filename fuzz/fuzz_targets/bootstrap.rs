// SPDX-License-Identifier: Apache-2.0
//! Any bytes as what a shim's start printed.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| shimkeeper_fuzz::shim::bootstrap(data));
