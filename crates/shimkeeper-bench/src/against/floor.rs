// SPDX-License-Identifier: Apache-2.0
//! The shim by hand, beside the two daemons: what is possible without a manager. Its figures are in the place of the
//! rival's, beside ours.

use std::sync::Arc;

use crate::against::error::AgainstError;
use crate::against::hybrid;
use crate::against::program::Pairing;
use crate::args::{Comparison, Target};
use crate::by_hand::ByHand;
use crate::error::BenchError;
use crate::measure::Cpu;
use crate::site::Site;
use crate::stats::millis;

/// The script, in a site of its own. Dropping it removes what it made.
#[derive(Debug)]
pub(crate) struct Floor {
    pub(crate) script: ByHand,
    site: Arc<Site>,
}

impl Floor {
    /// On the shim and the runtime of the daemons.
    pub(crate) fn new(pairing: &Pairing, options: &Comparison) -> Result<Self, AgainstError> {
        let site = Arc::new(Site::new(&Target {
            shim: pairing.shim.to_string_lossy().into_owned(),
            runtime_binary: options.runtime_binary.clone(),
            dir: options.state_dir.clone(),
            always_reap: false,
            no_overlap: false,
        })?);
        Ok(Self { script: ByHand::new(site.clone())?, site })
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        hybrid::tidy(&self.site.dirs.cgroup());
    }
}

/// What a step by hand took of the script's own processor time, in milliseconds. The harness does nothing else
/// meanwhile.
pub(crate) fn costing<T>(step: impl FnOnce() -> Result<T, BenchError>) -> Result<(T, f64), BenchError> {
    let before = Cpu::now();
    let done = step()?;
    Ok((done, millis(Cpu::now().since(before).own)))
}
