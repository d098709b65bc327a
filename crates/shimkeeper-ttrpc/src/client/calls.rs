// SPDX-License-Identifier: Apache-2.0
//! The calls in flight: who waits for which stream, and what a frame that nobody waits for means.

use std::collections::HashMap;

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::error::CallError;

/// What a waiting call is handed: the response envelope, or why there is none.
pub(super) type Reply = Result<Bytes, CallError>;

/// The calls of one connection.
#[derive(Debug)]
pub(super) struct Calls {
    /// The id of the next stream; `None` when all are used up.
    next: Option<u32>,
    waiting: HashMap<u32, oneshot::Sender<Reply>>,
    /// Calls given up whose answers may still come.
    given_up: u64,
    /// Frames in a row that belong to no call.
    strays: u32,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It answered a call.
    Answer,
    /// It may be the answer to a call that was given up.
    Late,
    /// It belongs to nothing; so many came in a row.
    Stray(u32),
}

impl Calls {
    pub(super) fn new() -> Self {
        Self { next: Some(1), waiting: HashMap::new(), given_up: 0, strays: 0 }
    }

    /// Opens the next stream.
    pub(super) fn open(&mut self, reply: oneshot::Sender<Reply>) -> Result<u32, CallError> {
        let id = self.next.ok_or(CallError::StreamsExhausted)?;
        self.next = id.checked_add(2);
        self.waiting.insert(id, reply);
        Ok(id)
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Forgets a call that nobody waits for any more.
    pub(super) fn give_up(&mut self, id: u32) {
        if self.waiting.remove(&id).is_some() {
            self.given_up += 1;
        }
    }

    /// Hands a frame's content to the call it belongs to.
    pub(super) fn arrive(&mut self, id: u32, reply: Reply) -> Arrival {
        if let Some(waiting) = self.waiting.remove(&id) {
            self.strays = 0;
            // Gone between its answer and its leaving: then nobody misses it.
            let _unwanted = waiting.send(reply);
            return Arrival::Answer;
        }
        // Which ids were given up is not kept; that the peer gets one late frame for each is enough.
        let was_opened = id % 2 == 1 && self.next.is_none_or(|next| id < next);
        if was_opened && self.given_up > 0 {
            self.given_up -= 1;
            return Arrival::Late;
        }
        self.strays = self.strays.saturating_add(1);
        Arrival::Stray(self.strays)
    }

    /// Takes all who wait, to tell them that nothing will come.
    pub(super) fn take_all(&mut self) -> Vec<oneshot::Sender<Reply>> {
        self.waiting.drain().map(|(_id, waiting)| waiting).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(calls: &mut Calls) -> (u32, oneshot::Receiver<Reply>) {
        let (sender, receiver) = oneshot::channel();
        (calls.open(sender).unwrap(), receiver)
    }

    #[test]
    fn ids_are_odd_and_rise_until_they_are_used_up() {
        let mut calls = Calls::new();
        assert_eq!([open(&mut calls).0, open(&mut calls).0], [1, 3]);
        calls.next = Some(u32::MAX);
        assert_eq!(open(&mut calls).0, u32::MAX);
        let (sender, _receiver) = oneshot::channel();
        assert!(matches!(calls.open(sender), Err(CallError::StreamsExhausted)));
        assert_eq!(calls.arrive(u32::MAX, Ok(Bytes::new())), Arrival::Answer);
    }

    #[test]
    fn each_call_given_up_excuses_one_late_frame() {
        let mut calls = Calls::new();
        let (first, _receiver) = open(&mut calls);
        let (second, _receiver) = open(&mut calls);
        calls.give_up(first);
        calls.give_up(first);
        assert_eq!(calls.arrive(first, Ok(Bytes::new())), Arrival::Late);
        assert_eq!(calls.arrive(first, Ok(Bytes::new())), Arrival::Stray(1));
        assert_eq!(calls.arrive(second, Ok(Bytes::new())), Arrival::Answer);
        assert_eq!(calls.arrive(second, Ok(Bytes::new())), Arrival::Stray(1), "an answer ends the row");
    }

    #[test]
    fn streams_that_were_never_opened_are_strays_even_after_a_call_was_given_up() {
        let mut calls = Calls::new();
        let (id, _receiver) = open(&mut calls);
        calls.give_up(id);
        for (count, id) in (1..).zip([0, 2, 3, u32::MAX]) {
            assert_eq!(calls.arrive(id, Ok(Bytes::new())), Arrival::Stray(count), "{id}");
        }
    }
}
