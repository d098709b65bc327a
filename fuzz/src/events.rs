// SPDX-License-Identifier: Apache-2.0
//! What the targets of the events crate do with their bytes. Ordinary tests run the same over generated input.

use prost::Message;
use shimkeeper_events::{Adaptor, Envelope, Filter, FilterError, TaskEvent};
use shimkeeper_proto::containerd::services::events::ttrpc::v1::ForwardRequest;
use shimkeeper_proto::containerd::types::Envelope as WireEnvelope;

/// Nothing panics, an error points into the text, and a printed filter reads back as itself.
pub fn filter(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match text.parse::<Filter>() {
        Ok(filter) => match filter.to_string().parse::<Filter>() {
            Ok(again) => assert_eq!(again, filter, "{text:?}"),
            // Escaping makes a text longer, which the limit on length may then refuse.
            Err(error) => assert!(matches!(error, FilterError::TooLong { .. }), "{text:?}: {error}"),
        },
        Err(FilterError::Syntax { at, input, .. } | FilterError::Pattern { at, input, .. }) => {
            assert!(input == text && input.is_char_boundary(at), "{text:?} at {at}");
        }
        Err(FilterError::TooLong { .. } | FilterError::TooMany) => {}
    }
}

/// Whatever a shim forwards is refused or becomes an envelope that goes out as it came in; looking into it
/// never panics.
pub fn envelope(data: &[u8]) {
    let Ok(request) = ForwardRequest::decode(data) else { return };
    let event = request.envelope.as_ref().and_then(|envelope| envelope.event.clone());
    let Ok(envelope) = Envelope::try_from(request) else { return };
    let _ = TaskEvent::decode(&envelope);
    let path = ["event", "container_id"].map(str::to_owned);
    let _ = envelope.field(&path);
    let wire = WireEnvelope::decode(envelope.wire()).expect("what we encode can be decoded");
    assert_eq!(wire.event, event, "the event is passed on as it came");
    assert!(Envelope::try_from(wire).is_ok(), "and is accepted by the next");
}
