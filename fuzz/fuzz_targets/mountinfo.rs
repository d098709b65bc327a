// SPDX-License-Identifier: Apache-2.0
//! Any bytes as the kernel's table of mounts.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| shimkeeper_fuzz::shim::mountinfo(data));
