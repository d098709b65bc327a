// SPDX-License-Identifier: Apache-2.0
//! The measuring harness behind cargo xtask bench.
