// SPDX-License-Identifier: Apache-2.0
//! Any bytes, taken as the request by which a shim forwards an event.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| shimkeeper_fuzz::events::envelope(data));
