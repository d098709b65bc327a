// SPDX-License-Identifier: Apache-2.0
//! One call to a shim: what may be said about it, and how it can fail.
//!
//! Both transports end in the same [`CallError`], so nothing above this crate knows which one a shim speaks. What
//! the shim said (code and text) is kept as it came: clients of the original match on these texts.

use std::fmt;
use std::time::Duration;

use shimkeeper_core::{HasKind, Kind};

use crate::connection::CloseReason;
use crate::trace::TraceContext;

/// How a call is made.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// How long it may take, from the first byte written to the last byte of the answer; `None` waits until the
    /// connection ends, which is right for `Wait` only.
    pub timeout: Option<Duration>,
    /// The trace it belongs to.
    pub trace: TraceContext,
    /// Whether another call on the same connection follows at once, so that both leave together.
    pub more_follow: bool,
}

impl Call {
    /// A call that may take this long, in no trace.
    pub fn within(timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..Self::default() }
    }

    /// A call without a deadline, in no trace.
    pub fn unbounded() -> Self {
        Self::default()
    }

    /// The same call, which waits to leave for another one that follows at once.
    pub fn before_another(mut self) -> Self {
        self.more_follow = true;
        self
    }

    /// The same call as a part of this trace.
    pub fn traced(mut self, trace: TraceContext) -> Self {
        self.trace = trace;
        self
    }
}

/// Why a call to a shim failed: the method and the cause, one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{method}: {}", OneLine(cause))]
pub struct CallError {
    method: &'static str,
    cause: Cause,
}

/// What went wrong with a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The shim answered that it did not do it.
    Shim {
        /// The number of the status on the wire, as [`Kind::from_code`] reads it.
        code: i32,
        /// What the shim said, untouched.
        message: String,
    },
    /// The connection ended before the answer came, or had ended already.
    Closed(CloseReason),
    /// No answer within the time allowed; whether the shim did it is not known.
    Deadline(Duration),
    /// The request or the answer is larger than a message may be.
    TooLarge {
        /// What is known about the size and the limit.
        detail: String,
    },
    /// The answer is no message of the expected type.
    Decode {
        /// What the decoder stumbled over.
        detail: String,
    },
    /// As many calls are under way on this connection as it allows.
    Busy {
        /// How many that is.
        limit: usize,
    },
    /// This one call failed below the Task API (a reset stream, an answer without a status); the connection lives.
    Transport {
        /// What the transport reported.
        detail: String,
    },
}

impl Cause {
    pub(crate) fn unreadable(error: &prost::DecodeError) -> Self {
        Self::Decode { detail: error.to_string() }
    }
}

impl CallError {
    pub(crate) fn new(method: &'static str, cause: Cause) -> Self {
        Self { method, cause }
    }

    /// The method that was called, as the Task service spells it.
    pub fn method(&self) -> &'static str {
        self.method
    }

    /// What went wrong.
    pub fn cause(&self) -> &Cause {
        &self.cause
    }

    /// What the shim said, if it was the shim that failed the call.
    pub fn shim_message(&self) -> Option<&str> {
        match &self.cause {
            Cause::Shim { message, .. } => Some(message),
            _ => None,
        }
    }

    /// Whether the shim does not know the method, or the whole service: the sign to downgrade.
    pub fn is_not_implemented(&self) -> bool {
        matches!(&self.cause, Cause::Shim { code, .. } if Kind::from_code(*code) == Kind::NotImplemented)
    }

    /// Whether the connection is gone, so that no other call on it can succeed.
    pub fn is_closed(&self) -> bool {
        matches!(self.cause, Cause::Closed(_))
    }
}

impl HasKind for CallError {
    fn kind(&self) -> Kind {
        match &self.cause {
            Cause::Shim { code, .. } => Kind::from_code(*code),
            Cause::Closed(_) | Cause::Transport { .. } => Kind::Unavailable,
            Cause::Deadline(_) => Kind::DeadlineExceeded,
            Cause::TooLarge { .. } | Cause::Busy { .. } => Kind::ResourceExhausted,
            Cause::Decode { .. } => Kind::DataLoss,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shim { code, message } if message.is_empty() => {
                write!(f, "{} (the shim gave no reason)", Kind::from_code(*code))
            }
            Self::Shim { message, .. } => f.write_str(message),
            Self::Closed(reason) => write!(f, "the connection to the shim is closed: {reason}"),
            Self::Deadline(after) => write!(f, "the shim gave no answer within {after:?}"),
            Self::TooLarge { detail } => write!(f, "message too large: {detail}"),
            Self::Decode { detail } => write!(f, "the shim's answer cannot be read: {detail}"),
            Self::Busy { limit } => {
                write!(f, "{limit} calls are under way on this connection, it takes no more")
            }
            Self::Transport { detail } => write!(f, "the call broke down on its way: {detail}"),
        }
    }
}

/// Writes a value on one line: text from a shim may hold line breaks and terminal escapes.
struct OneLine<'a, T>(&'a T);

impl<T: fmt::Display> fmt::Display for OneLine<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);
        impl fmt::Write for Escaping<'_, '_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                for piece in text.split_inclusive(char::is_control) {
                    let plain = piece.trim_end_matches(char::is_control);
                    self.0.write_str(plain)?;
                    write!(self.0, "{}", piece[plain.len()..].escape_debug())?;
                }
                Ok(())
            }
        }
        fmt::write(&mut Escaping(f), format_args!("{}", self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(cause: Cause) -> CallError {
        CallError::new("Kill", cause)
    }

    #[test]
    fn every_cause_has_its_kind() {
        let text = String::new;
        let shim = |code| Cause::Shim { code, message: text() };
        let table = [
            (shim(5), Kind::NotFound),
            (shim(12), Kind::NotImplemented),
            (shim(77), Kind::Unknown),
            (Cause::Closed(CloseReason::PeerClosed), Kind::Unavailable),
            (Cause::Deadline(Duration::from_secs(2)), Kind::DeadlineExceeded),
            (Cause::TooLarge { detail: text() }, Kind::ResourceExhausted),
            (Cause::Busy { limit: 1 }, Kind::ResourceExhausted),
            (Cause::Decode { detail: text() }, Kind::DataLoss),
            (Cause::Transport { detail: text() }, Kind::Unavailable),
        ];
        for (cause, kind) in table {
            assert_eq!(error(cause.clone()).kind(), kind, "{cause:?}");
        }
    }

    #[test]
    fn an_error_is_one_line_and_the_shims_text_stays_as_it_came() {
        let said = "no such\nprocess\u{1b}[2J: not found";
        let failure = error(Cause::Shim { code: 5, message: said.to_owned() });
        assert_eq!(failure.to_string(), "Kill: no such\\nprocess\\u{1b}[2J: not found");
        assert_eq!(failure.shim_message(), Some(said));
        let mute = error(Cause::Shim { code: 9, message: String::new() });
        assert_eq!(mute.to_string(), "Kill: failed precondition (the shim gave no reason)");
    }

    #[test]
    fn only_the_shims_own_answer_says_not_implemented() {
        assert!(error(Cause::Shim { code: 12, message: String::new() }).is_not_implemented());
        assert!(!error(Cause::Closed(CloseReason::Reset)).is_not_implemented());
        assert!(error(Cause::Closed(CloseReason::Reset)).is_closed());
        assert!(!error(Cause::Deadline(Duration::ZERO)).is_closed());
    }
}
