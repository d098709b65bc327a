// SPDX-License-Identifier: Apache-2.0
//! Dialing a shim again after its connection was lost.

use std::sync::Arc;
use std::time::Duration;

use crate::dialing::{Answer, Whom, reach};
use crate::machine::Input;
use crate::reconcile::{Finding, Told, reconcile};
use crate::shim::Shim;
use crate::task::denial;
use crate::{ending, whereabouts};

/// First and longest wait between two tries to dial again.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// Dials a lost shim until it answers or is proven dead.
pub(crate) async fn redial(shim: &Arc<Shim>) -> Input {
    let mut wait = BACK_OFF.0;
    loop {
        if ending::proven_dead(shim, Duration::ZERO).await {
            return Input::Died;
        }
        let places = whereabouts::of_shim(shim).await;
        let identity = shim.identity();
        let (seat, known) = (shim.seat(), identity.as_slice());
        let whom = Whom::of(shim, seat.as_deref(), known);
        let asking = shim.ledger.memo.ask();
        match reach(&shim.env, whom, &shim.deadlines(), places).await {
            Ok(Answer { connection, told, .. }) => {
                let told = told.map(|answer| Told { asking, answer });
                match reconcile(shim, &connection, told).await {
                    Finding::Silent(error) => shim.set_trouble(error.to_string()),
                    finding @ (Finding::Alive | Finding::Ended | Finding::Absent) => {
                        shim.set_connection(connection);
                        if matches!(finding, Finding::Absent) {
                            denial::heard(shim);
                        }
                        return Input::Dialed;
                    }
                }
            }
            Err(silence) => shim.set_trouble(silence.reason),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(BACK_OFF.1);
    }
}
