// SPDX-License-Identifier: Apache-2.0
//! Any bytes, in pieces of any size, to the frame decoder.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| shimkeeper_fuzz::ttrpc::frames(data));
