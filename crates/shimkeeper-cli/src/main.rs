// SPDX-License-Identifier: Apache-2.0
//! The `shimkeeper` command.

fn main() {}
