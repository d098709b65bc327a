// SPDX-License-Identifier: Apache-2.0
//! All of the project's automation, one sub-command each.

fn main() {}
