// SPDX-License-Identifier: Apache-2.0
//! Timestamps as shims send them.

use std::time::SystemTime;

use shimkeeper_core::time::{GO_ZERO_SECONDS, to_parts};
use shimkeeper_proto::google::protobuf::Timestamp;

/// The moment; Go's zero time for "not yet".
pub(crate) fn of(at: Option<SystemTime>) -> Timestamp {
    let (seconds, nanos) = at.map_or((GO_ZERO_SECONDS, 0), to_parts);
    Timestamp { seconds, nanos }
}
