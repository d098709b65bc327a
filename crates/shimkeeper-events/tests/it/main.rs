// SPDX-License-Identifier: Apache-2.0
//! The crate from outside: the bodies of its fuzz targets over generated input, and the journal over a crash of the
//! machine.

mod fuzz_smoke;
mod machine;
