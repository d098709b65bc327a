// SPDX-License-Identifier: Apache-2.0
//! Where a shim may listen: by what its bundle says, by what we wrote down, by the socket its process has, and by the
//! rule of its kind. Any of these may be lost, damaged or untrue, so all of them are tried, and whoever answers is
//! asked who it is.

use shimkeeper_shim::{
    Address, BootstrapParams, Bundle, ProcessIdentity, ShimProcesses, TaskApi, listening_socket,
};

use crate::dialing::Whom;
use crate::env::Env;
use crate::shim::Shim;
use crate::{dialing, identify};

/// Where to dial, the most likely first. `recorded` is what we wrote down, `shims` are the processes it may be. Blocking.
pub(crate) fn places(
    env: &Env,
    bundle: &Bundle,
    recorded: Option<&BootstrapParams>,
    shims: &[ProcessIdentity],
) -> Vec<BootstrapParams> {
    let mut places: Vec<BootstrapParams> = Vec::new();
    let written = BootstrapParams::read(bundle).ok();
    // Which API is spoken at an address that was only found is found out there: a newer one is refused politely.
    let api = recorded.map_or(TaskApi::TtrpcV3, |params| params.api);
    let found = shims
        .iter()
        .filter_map(|shim| listening_socket(shim.pid))
        .map(|path| BootstrapParams { api, address: Address::Unix(path) });
    let ruled = BootstrapParams { api, address: Address::by_rule(bundle, &env.address) };
    let ruled = Some(ruled).filter(|params| params.address.path().is_some_and(std::path::Path::exists));
    for place in written.into_iter().chain(recorded.cloned()).chain(found).chain(ruled) {
        if places.iter().all(|known| known.address != place.address) {
            places.push(place);
        }
    }
    places
}

/// Where to dial a shim that was lost.
pub(crate) async fn of_shim(shim: &Shim) -> Vec<BootstrapParams> {
    let processes: Vec<_> = shim.identity().into_iter().collect();
    let (env, bundle, record) = (shim.env.clone(), shim.bundle.clone(), shim.record.clone());
    let places = move || places(&env, &bundle, record.bootstrap().as_ref(), &processes);
    shim.env.scope.spawn_blocking(places).await.unwrap_or_default()
}

/// Whether nothing is there of a shim that nobody here launched, and whose process was never named: no process that
/// looks like it, no init, and nobody who listens where it could.
pub(crate) async fn nothing_is_there(shim: &Shim) -> bool {
    if shim.init_identity().is_some_and(|init| !identify::is_gone(&init)) {
        return false;
    }
    let bundle = shim.bundle.clone();
    let looks_alike = move || !ShimProcesses::now().of(&bundle).is_empty();
    // Where that cannot be found out, there may be one.
    if shim.env.scope.spawn_blocking(looks_alike).await.unwrap_or(true) {
        return false;
    }
    let seat = shim.seat();
    let whom = Whom { role: shim.role, key: &shim.key, seat: seat.as_deref(), known: &[] };
    match dialing::reach(&shim.env, whom, &shim.deadlines(), of_shim(shim).await).await {
        Ok(answer) => {
            answer.connection.close();
            false
        }
        Err(silence) => silence.nobody_listens,
    }
}
