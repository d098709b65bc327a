// SPDX-License-Identifier: Apache-2.0
//! Where a shim may listen: by what its bundle says, by what we wrote down, by the socket its process has, and by the
//! rule of its kind. Any of these may be lost, damaged or untrue, so all of them are tried, and whoever answers is
//! asked who it is.

use shimkeeper_shim::{
    Address, BootstrapParams, Bundle, Findings, ProcessIdentity, TaskApi, listening_socket,
};

use crate::dialing::Whom;
use crate::env::Env;
use crate::shim::Shim;
use crate::{dialing, identify};

/// Where files say that it listens, the most likely first: `written` is what its bundle says, `recorded` what we wrote
/// down.
pub(crate) fn told(
    written: Option<&BootstrapParams>,
    recorded: Option<&BootstrapParams>,
) -> Vec<BootstrapParams> {
    let mut places = Vec::new();
    add(&mut places, written.into_iter().chain(recorded).cloned());
    places
}

/// Where else it may listen, by what the machine shows; `shims` are the processes it may be. Not for every shim: this
/// looks through all sockets of the machine. Blocking.
pub(crate) fn seen(
    env: &Env,
    bundle: &Bundle,
    recorded: Option<&BootstrapParams>,
    shims: &[ProcessIdentity],
    told: &[BootstrapParams],
) -> Vec<BootstrapParams> {
    // Which API is spoken at an address that was only found is found out there: a newer one is refused politely.
    let api = recorded.map_or(TaskApi::TtrpcV3, |params| params.api);
    let found = shims
        .iter()
        .filter_map(|shim| listening_socket(shim.pid))
        .map(|path| BootstrapParams { api, address: Address::unix(path) });
    let ruled = BootstrapParams { api, address: Address::by_rule(bundle, &env.address) };
    let ruled = Some(ruled).filter(|params| params.address.path().is_some_and(std::path::Path::exists));
    let mut places = told.to_vec();
    add(&mut places, found.chain(ruled));
    places.split_off(told.len())
}

fn add(places: &mut Vec<BootstrapParams>, more: impl Iterator<Item = BootstrapParams>) {
    for place in more {
        if places.iter().all(|known| known.address != place.address) {
            places.push(place);
        }
    }
}

/// Where to dial a shim that was lost.
pub(crate) async fn of_shim(shim: &Shim) -> Vec<BootstrapParams> {
    let processes: Vec<_> = shim.identity().into_iter().collect();
    let (env, bundle, record) = (shim.env.clone(), shim.bundle.clone(), shim.record.clone());
    let places = move || {
        let (written, recorded) = (BootstrapParams::read(&bundle).ok(), record.bootstrap());
        let mut places = told(written.as_ref(), recorded.as_ref());
        let more = seen(&env, &bundle, recorded.as_ref(), &processes, &places);
        places.extend(more);
        places
    };
    shim.env.scope.spawn_blocking(places).await.unwrap_or_default()
}

/// Whether nothing is there of a shim that nobody here launched, and whose process was never named: no process that
/// looks like it, no init, and nobody who listens where it could.
pub(crate) async fn nothing_is_there(shim: &Shim) -> bool {
    if shim.init_identity().is_some_and(|init| !identify::is_gone(&init)) {
        return false;
    }
    let (env, bundle) = (shim.env.clone(), shim.bundle.clone());
    let none_looks_alike =
        move || env.shim_processes().is_ok_and(|processes| processes.of(&bundle) == Findings::default());
    // Where that cannot be found out, there may be one.
    if !shim.env.scope.spawn_blocking(none_looks_alike).await.unwrap_or(false) {
        return false;
    }
    let seat = shim.seat();
    let whom = Whom::of(shim, seat.as_deref(), &[]);
    match dialing::reach(&shim.env, whom, &shim.deadlines(), of_shim(shim).await).await {
        Ok(answer) => {
            answer.connection.close();
            false
        }
        Err(silence) => silence.nobody_listens,
    }
}
