// SPDX-License-Identifier: Apache-2.0
//! What the fuzz targets do, apart from the fuzzer: ordinary tests include these files and run them as well.

pub mod events;
pub mod shim;
pub mod store;
pub mod ttrpc;
