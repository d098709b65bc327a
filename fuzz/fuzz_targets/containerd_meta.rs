// SPDX-License-Identifier: Apache-2.0
//! Any bytes, taken for containerd's metadata. Start it with a `meta.db` of a containerd in its corpus: noise has no good
//! meta page.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| shimkeeper_fuzz::store::containerd(data));
