// SPDX-License-Identifier: Apache-2.0
//! The fake shim as a process: what the runtime name `io.containerd.fake.v2` resolves to.

use std::process::ExitCode;

fn main() -> ExitCode {
    shimkeeper_testkit::fake_shim_main()
}
