// SPDX-License-Identifier: Apache-2.0
//! Whoever of the daemon wants to be told what the library does: its figures, its traces.

use std::path::Path;
use std::sync::Arc;

use shimkeeper::{Asked, Dropped, Observer, Provenance, Span, TraceContext};

use crate::metrics::Counted;
use crate::spans::Spans;

/// Both of them, where they are.
#[derive(Clone, Debug)]
pub(crate) struct Observers {
    counted: Option<Counted>,
    spans: Option<Spans>,
}

impl Observers {
    /// `None` if nobody wants to be told anything, so that nothing is measured in vain.
    pub(crate) fn of(counted: Option<&Counted>, spans: Option<&Spans>) -> Option<Arc<dyn Observer>> {
        if counted.is_none() && spans.is_none() {
            return None;
        }
        Some(Arc::new(Self { counted: counted.cloned(), spans: spans.cloned() }))
    }
}

impl Observer for Observers {
    fn asked(&self, asked: &Asked<'_>) {
        if let Some(counted) = &self.counted {
            counted.asked(asked);
        }
    }

    fn exited(&self, provenance: Provenance) {
        if let Some(counted) = &self.counted {
            counted.exited(provenance);
        }
    }

    fn dropped(&self, why: Dropped) {
        if let Some(counted) = &self.counted {
            counted.dropped(why);
        }
    }

    fn traces(&self, binary: &Path, method: &'static str, parent: &TraceContext) -> Option<Box<dyn Span>> {
        self.spans.as_ref()?.question(binary, method, parent)
    }
}
