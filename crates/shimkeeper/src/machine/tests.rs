// SPDX-License-Identifier: Apache-2.0
//! Every order of inputs, explored: from every state that can be reached there is a way out, nothing is reaped
//! without proof of death, and the end is made exactly once.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use super::*;

const INPUTS: [Input; 11] = [
    Input::Hold,
    Input::Settle(Fate::Keep),
    Input::Settle(Fate::End),
    Input::Lost,
    Input::Dialed,
    Input::Died,
    Input::Reaped,
    Input::Removed,
    Input::Failed,
    Input::Retry,
    Input::Detach,
];

/// The state, and what has been done and proven on the way, the end counted up to two.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Trace {
    state: State,
    died: bool,
    published: bool,
    removed: bool,
    deregistered: u8,
    work: Option<Action>,
}

impl Trace {
    const START: Self = Self {
        state: State::Held(Link::Up),
        died: false,
        published: false,
        removed: false,
        deregistered: 0,
        work: None,
    };

    /// Whether the supervisor could feed this input now: answers come only to what was
    /// begun, and a shim dies once, though its death may be found again when its end is tried again.
    fn can_happen(self, input: Input) -> bool {
        match input {
            Input::Hold => self.state.can_be_held(),
            Input::Settle(_) => matches!(self.state, State::Held(_)),
            Input::Lost => !self.died && matches!(self.state, State::Held(Link::Up) | State::Serving),
            Input::Dialed => !self.died && matches!(self.state, State::Unreachable | State::Held(Link::Lost)),
            Input::Died => {
                (!self.died || self.work == Some(Action::EndShim)) && !matches!(self.state, State::Gone(_))
            }
            Input::Reaped => self.work == Some(Action::Reap),
            Input::Removed => self.work == Some(Action::RemoveBundle),
            Input::Failed => self.work.is_some(),
            Input::Retry => self.state == State::Quarantined,
            Input::Detach => !matches!(self.state, State::Gone(_)),
        }
    }

    fn after(mut self, input: Input) -> Self {
        let (state, actions) = self.state.step(input);
        match input {
            Input::Died => (self.died, self.work) = (true, None),
            Input::Removed => (self.removed, self.work) = (true, None),
            Input::Reaped | Input::Failed => self.work = None,
            _ => {}
        }
        self.state = state;
        for action in actions {
            match action {
                Action::EndShim => self.work = Some(Action::EndShim),
                Action::Reap => {
                    assert!(self.died, "reaped without proof of death: {input:?} led to {state:?}");
                    self.work = Some(Action::Reap);
                }
                Action::PublishEnd => self.published = true,
                Action::RemoveBundle => {
                    assert!(self.published, "the record of an exit must outlive its announcement");
                    self.work = Some(Action::RemoveBundle);
                }
                Action::Deregister => self.deregistered += 1,
                Action::Redial | Action::ScheduleRetry => {}
            }
        }
        self
    }
}

fn explore() -> HashMap<Trace, Vec<Trace>> {
    let mut edges = HashMap::new();
    let mut queue = VecDeque::from(
        // Made, found and not reached, found dead.
        [Link::Up, Link::Lost, Link::Dead].map(|link| Trace {
            state: State::Held(link),
            died: link == Link::Dead,
            ..Trace::START
        }),
    );
    while let Some(trace) = queue.pop_front() {
        if edges.contains_key(&trace) {
            continue;
        }
        let next: Vec<_> =
            INPUTS.into_iter().filter(|i| trace.can_happen(*i)).map(|input| trace.after(input)).collect();
        queue.extend(next.iter().copied());
        edges.insert(trace, next);
    }
    edges
}

#[test]
fn the_end_is_made_once_and_in_full() {
    for trace in explore().keys() {
        let over = trace.state == State::Gone(End::Reaped);
        assert_eq!(trace.deregistered, u8::from(over), "{trace:?}");
        assert!(!over || (trace.died && trace.published && trace.removed), "{trace:?}");
    }
}

#[test]
fn no_state_is_a_dead_end() {
    let edges = explore();
    let mut reaches_reaped: HashSet<Trace> =
        edges.keys().filter(|t| t.state == State::Gone(End::Reaped)).copied().collect();
    loop {
        let before = reaches_reaped.len();
        for (trace, next) in &edges {
            if next.iter().any(|n| reaches_reaped.contains(n)) {
                reaches_reaped.insert(*trace);
            }
        }
        if reaches_reaped.len() == before {
            break;
        }
    }
    let stuck: BTreeSet<_> = edges
        .keys()
        .filter(|t| !reaches_reaped.contains(t) && t.state != State::Gone(End::Detached))
        .map(|t| format!("{t:?}"))
        .collect();
    assert!(stuck.is_empty(), "no way to a clean end from {stuck:#?}");
}

#[test]
fn a_closed_connection_alone_reaps_nothing() {
    for start in [State::Serving, State::Held(Link::Up), State::Unreachable] {
        let (state, actions) = start.step(Input::Lost);
        assert!(!actions.contains(&Action::Reap) && !actions.contains(&Action::EndShim), "{state:?}");
    }
}

#[test]
fn detaching_touches_nothing() {
    for trace in explore().keys().filter(|t| !matches!(t.state, State::Gone(_))) {
        assert_eq!(trace.state.step(Input::Detach), (State::Gone(End::Detached), [].as_slice()));
    }
}

#[test]
fn every_state_is_reached() {
    let reached: HashSet<State> = explore().keys().map(|t| t.state).collect();
    for state in [
        State::Held(Link::Up),
        State::Held(Link::Lost),
        State::Held(Link::Dead),
        State::Serving,
        State::Unreachable,
        State::Ending,
        State::Reaping,
        State::Removing,
        State::Quarantined,
        State::Gone(End::Reaped),
        State::Gone(End::Detached),
    ] {
        assert!(reached.contains(&state), "{state:?}");
    }
}
