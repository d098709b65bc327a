// SPDX-License-Identifier: Apache-2.0
//! The calls in flight: who waits for which stream, and what a frame that nobody waits for means.
//!
//! An answer is put where its call waits for it. Every connection has one call that lasts as long as it does, so there is
//! nothing else for each: a row, in the order of the streams, and no table.

use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use crate::error::{CallError, CloseReason};

/// What a waiting call is handed: the response envelope, or why there is none.
pub(super) type Reply = Result<Bytes, Box<CallError>>;

/// The calls of one connection.
#[derive(Debug)]
pub(super) struct Calls {
    /// The id of the next stream; `None` when all are used up.
    next: Option<u32>,
    /// By their ids, which rise.
    row: Vec<Call>,
    /// Those of the row that have no answer yet.
    unanswered: usize,
    /// Calls given up whose answers may still come.
    given_up: u64,
    /// Frames in a row that belong to no call.
    strays: u32,
}

#[derive(Debug)]
struct Call {
    id: u32,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Sent, and not waited for yet.
    Sent,
    Awaited(Waker),
    Answered(Reply),
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
        Self { next: Some(1), row: Vec::new(), unanswered: 0, given_up: 0, strays: 0 }
    }

    /// Opens the next stream.
    pub(super) fn open(&mut self) -> Result<u32, CallError> {
        let id = self.next.ok_or(CallError::StreamsExhausted)?;
        self.next = id.checked_add(2);
        if self.row.is_empty() {
            // It may be the one that stays.
            self.row.reserve_exact(1);
        }
        self.row.push(Call { id, state: State::Sent });
        self.unanswered += 1;
        Ok(id)
    }

    /// How many have no answer.
    pub(super) fn len(&self) -> usize {
        self.unanswered
    }

    fn place(&self, id: u32) -> Option<usize> {
        self.row.binary_search_by_key(&id, |call| call.id).ok()
    }

    /// Takes a call's answer, once it is there.
    pub(super) fn poll(&mut self, id: u32, context: &mut Context<'_>) -> Poll<Option<Reply>> {
        let Some(place) = self.place(id) else { return Poll::Ready(None) };
        match &mut self.row[place].state {
            State::Answered(_) => Poll::Ready(self.remove(place)),
            State::Awaited(waker) => {
                waker.clone_from(context.waker());
                Poll::Pending
            }
            state @ State::Sent => {
                *state = State::Awaited(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Forgets a call that nobody waits for any more.
    pub(super) fn give_up(&mut self, id: u32) {
        if let Some(place) = self.place(id)
            && self.remove(place).is_none()
        {
            self.unanswered -= 1;
            self.given_up += 1;
        }
    }

    /// Its answer, if it has one.
    fn remove(&mut self, place: usize) -> Option<Reply> {
        let call = self.row.remove(place);
        if self.row.len() <= 1 {
            self.row.shrink_to_fit();
        }
        match call.state {
            State::Answered(reply) => Some(reply),
            State::Sent | State::Awaited(_) => None,
        }
    }

    /// Hands a frame's content to the call it belongs to.
    pub(super) fn arrive(&mut self, id: u32, reply: Reply) -> Arrival {
        if let Some(place) = self.place(id)
            && self.answer(place, reply)
        {
            self.strays = 0;
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

    /// Whether it had none before.
    fn answer(&mut self, place: usize, reply: Reply) -> bool {
        let state = &mut self.row[place].state;
        if matches!(state, State::Answered(_)) {
            return false;
        }
        self.unanswered -= 1;
        if let State::Awaited(waker) = std::mem::replace(state, State::Answered(reply)) {
            waker.wake();
        }
        true
    }

    /// Tells all who wait that nothing will come.
    pub(super) fn close(&mut self, reason: &CloseReason) {
        for place in 0..self.row.len() {
            self.answer(place, Err(Box::new(CallError::Closed(reason.clone()))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(calls: &mut Calls, id: u32) -> Poll<Option<Reply>> {
        calls.poll(id, &mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn ids_are_odd_and_rise_until_they_are_used_up() {
        let mut calls = Calls::new();
        assert_eq!([calls.open().unwrap(), calls.open().unwrap()], [1, 3]);
        calls.next = Some(u32::MAX);
        assert_eq!(calls.open().unwrap(), u32::MAX);
        assert!(matches!(calls.open(), Err(CallError::StreamsExhausted)));
        assert_eq!(calls.arrive(u32::MAX, Ok(Bytes::new())), Arrival::Answer);
    }

    #[test]
    fn an_answer_waits_for_its_call_and_is_given_once() {
        let mut calls = Calls::new();
        let (first, second) = (calls.open().unwrap(), calls.open().unwrap());
        assert!(poll(&mut calls, first).is_pending());
        assert_eq!(calls.arrive(second, Ok(Bytes::from_static(b"2"))), Arrival::Answer);
        assert_eq!(calls.arrive(second, Ok(Bytes::new())), Arrival::Stray(1), "it has one");
        assert_eq!(calls.len(), 1);
        assert!(matches!(poll(&mut calls, second), Poll::Ready(Some(Ok(answer))) if answer == "2"));
        assert!(matches!(poll(&mut calls, second), Poll::Ready(None)));
        calls.close(&CloseReason::Local);
        assert!(matches!(poll(&mut calls, first), Poll::Ready(Some(Err(_)))));
        assert_eq!(calls.len(), 0);
    }

    #[test]
    fn each_call_given_up_excuses_one_late_frame() {
        let mut calls = Calls::new();
        let (first, second) = (calls.open().unwrap(), calls.open().unwrap());
        calls.give_up(first);
        calls.give_up(first);
        assert_eq!(calls.arrive(first, Ok(Bytes::new())), Arrival::Late);
        assert_eq!(calls.arrive(first, Ok(Bytes::new())), Arrival::Stray(1));
        assert_eq!(calls.arrive(second, Ok(Bytes::new())), Arrival::Answer);
        calls.give_up(second);
        assert_eq!(calls.arrive(second, Ok(Bytes::new())), Arrival::Stray(1), "an answer ends the row");
    }

    #[test]
    fn streams_that_were_never_opened_are_strays_even_after_a_call_was_given_up() {
        let mut calls = Calls::new();
        let id = calls.open().unwrap();
        calls.give_up(id);
        for (count, id) in (1..).zip([0, 2, 3, u32::MAX]) {
            assert_eq!(calls.arrive(id, Ok(Bytes::new())), Arrival::Stray(count), "{id}");
        }
    }
}
