// SPDX-License-Identifier: Apache-2.0
//! W3C trace context, passed on to the shim so that a client's trace is not broken by us.
//!
//! We make no spans of our own for others to see and interpret nothing: what a client sent is checked for being
//! what its name says, and handed to the shim under the same keys (`traceparent`, `tracestate`, `baggage`),
//! as ttrpc metadata or HTTP/2 headers.

/// Longest `tracestate` or `baggage` that is passed on, in bytes (the limit the baggage specification names).
const MAX_LIST_BYTES: usize = 8192;

/// The trace that a call belongs to; empty by default.
///
/// Only what is valid is kept: a broken context is worth less than none, and never a reason to fail a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceContext {
    traceparent: Option<String>,
    tracestate: Option<String>,
    baggage: Option<String>,
}

impl TraceContext {
    /// The context in a request's metadata; keys in any case, others ignored, the first of a key wins.
    ///
    /// A `tracestate` without a valid `traceparent` has no meaning and is left out; `baggage` stands alone.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut found = Self::default();
        for (key, value) in pairs {
            if key.eq_ignore_ascii_case("traceparent") {
                found.traceparent = found.traceparent.or_else(|| traceparent(value));
            } else if key.eq_ignore_ascii_case("tracestate") {
                found.tracestate = found.tracestate.or_else(|| list(value));
            } else if key.eq_ignore_ascii_case("baggage") {
                found.baggage = found.baggage.or_else(|| list(value));
            }
        }
        if found.traceparent.is_none() {
            found.tracestate = None;
        }
        found
    }

    /// What goes on the wire: lower-case keys and their values.
    pub fn pairs(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("traceparent", self.traceparent.as_deref()),
            ("tracestate", self.tracestate.as_deref()),
            ("baggage", self.baggage.as_deref()),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
    }

    /// The `traceparent`, if there is a valid one.
    pub fn traceparent(&self) -> Option<&str> {
        self.traceparent.as_deref()
    }

    /// Whether there is nothing to pass on.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// `version-traceid-parentid-flags`, lenient where it costs nothing: blanks around it and upper-case digits are
/// put right, and versions to come may append fields.
fn traceparent(text: &str) -> Option<String> {
    let text = text.trim().to_ascii_lowercase();
    let mut fields = text.split('-');
    let (version, trace, parent, flags) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let more = fields.next().is_some();
    let valid = is_hex(version, 2)
        && version != "ff"
        && !(more && version == "00")
        && is_id(trace, 32)
        && is_id(parent, 16)
        && is_hex(flags, 2)
        && is_printable(&text);
    valid.then_some(text)
}

fn is_hex(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// All zeros stand for "no trace".
fn is_id(text: &str, len: usize) -> bool {
    is_hex(text, len) && text.bytes().any(|b| b != b'0')
}

/// A list that others read; we only see to it that it can travel as a header.
fn list(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty() && text.len() <= MAX_LIST_BYTES && is_printable(text)).then(|| text.to_owned())
}

fn is_printable(text: &str) -> bool {
    text.len() <= MAX_LIST_BYTES && text.bytes().all(|b| matches!(b, b' '..=b'~'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn parent(text: &str) -> Option<String> {
        TraceContext::from_pairs([("traceparent", text)]).traceparent
    }

    #[test]
    fn a_valid_context_comes_out_as_it_went_in() {
        let pairs = [("traceparent", VALID), ("tracestate", "congo=t61rcWkgMzE"), ("baggage", "user=alice")];
        let context = TraceContext::from_pairs(pairs);
        assert_eq!(context.pairs().collect::<Vec<_>>(), pairs);
        assert_eq!(context.traceparent(), Some(VALID));
        assert!(!context.is_empty());
    }

    #[test]
    fn keys_and_digits_may_be_in_any_case() {
        let context = TraceContext::from_pairs([("TraceParent", VALID.to_uppercase().as_str())]);
        assert_eq!(context.traceparent(), Some(VALID));
        assert_eq!(parent(&format!("  {VALID} ")).as_deref(), Some(VALID));
    }

    #[test]
    fn later_versions_may_say_more_but_version_zero_may_not() {
        let later = VALID.replacen("00-", "01-", 1) + "-what-comes-later";
        assert_eq!(parent(&later), Some(later.clone()));
        assert_eq!(parent(&format!("{VALID}-more")), None);
    }

    #[test]
    fn what_is_no_traceparent_is_left_out() {
        let zero_trace = "00-00000000000000000000000000000000-b7ad6b7169203331-01";
        let zero_parent = "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01";
        let forbidden = VALID.replacen("00-", "ff-", 1);
        let bad = ["", "-", "00", "nonsense", zero_trace, zero_parent, &forbidden, &VALID[1..], &VALID[..54]];
        for text in bad {
            assert_eq!(parent(text), None, "{text:?}");
        }
        assert_eq!(parent(&format!("01{}-\u{e9}\n", &VALID[2..])), None);
    }

    #[test]
    fn a_state_needs_a_parent_and_lists_must_be_printable() {
        assert!(TraceContext::from_pairs([("tracestate", "a=b")]).is_empty());
        let alone = TraceContext::from_pairs([("baggage", "a=b"), ("baggage", "c=d")]);
        assert_eq!(alone.pairs().collect::<Vec<_>>(), [("baggage", "a=b")]);
        for bad in ["", "a=\r\nb", "a=\u{fc}", &"x".repeat(MAX_LIST_BYTES + 1)] {
            assert!(TraceContext::from_pairs([("baggage", bad)]).is_empty(), "{bad:?}");
        }
    }
}
