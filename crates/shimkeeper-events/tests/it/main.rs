// SPDX-License-Identifier: Apache-2.0
//! The crate from outside: the bodies of its fuzz targets over generated input.

mod fuzz_smoke;
