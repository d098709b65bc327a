// SPDX-License-Identifier: Apache-2.0
//! Task events: envelope, topic, exchange, filter and journal. Knows no shim.
//!
//! An [`Envelope`] is checked where it comes in, published on the [`Exchange`], and seen by every
//! [`Subscription`] whose [`Filters`] it passes. [`TaskEvent`] is the typed view of it.
//! A [`Journal`] keeps events on disk for those who were away.

mod envelope;
mod event_fields;
mod exchange;
pub mod filter;
mod journal;
mod sandbox_event;
mod supplied;
mod task_event;
mod topic;

pub use envelope::{Envelope, EnvelopeError};
pub use exchange::{Counters, Ended, Exchange, Limits, SubscribeError, Subscription};
pub use filter::{Adaptor, Filter, FilterError, Filters};
pub use journal::{Gap, Journal, JournalError, JournalLimits, Replay, Replayed};
pub use task_event::{TaskEvent, TaskEventError};
pub use topic::{Topic, TopicError};
