// SPDX-License-Identifier: Apache-2.0
//! Any bytes to a client with calls in flight.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| shimkeeper_fuzz::ttrpc::client_input(data));
