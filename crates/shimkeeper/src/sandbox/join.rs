// SPDX-License-Identifier: Apache-2.0
//! Which shim a task that is to be in a sandbox joins.

use std::sync::Arc;

use shimkeeper_core::SandboxKey;
use shimkeeper_shim::{Address, BootstrapParams, ShimBinary, TaskApi};

use crate::create::CreateTask;
use crate::env::Env;
use crate::error::{Cause, Error, Refused, Step};
use crate::launching::{self, How, Point};
use crate::registry::Entry;

/// How a task comes by its shim: it is launched, unless the task is in a sandbox whose shim takes tasks itself. Shims
/// that speak version 2 of the Task API are always launched for each task, and find the sandbox's by themselves.
pub(crate) async fn how<'a>(env: &Arc<Env>, request: &'a CreateTask) -> Result<How<'a>, Error> {
    let launch = How::Launch(&request.runtime);
    let Some(place) = &request.place else { return Ok(launch) };
    let key = SandboxKey::new(request.key.namespace.clone(), place.sandbox.clone());
    let sandbox = match env.sandboxes.get(&key.to_bundle_key()) {
        Some(Entry::Shim(shim)) if !shim.is_ending() => Some(shim),
        Some(Entry::Adopting(_)) => return Err(Error::new(Step::Find, Refused::BeingAdopted)),
        Some(Entry::Creating) => return Err(Error::new(Step::Find, Refused::BeingCreated)),
        Some(Entry::Stranded(reason)) => {
            return Err(Error::new(Step::Find, Refused::Unreachable { reason }));
        }
        Some(Entry::Shim(_)) | None => None,
    };
    let params = match (&place.endpoint, &sandbox) {
        (Some((endpoint, version)), _) => parse(endpoint, *version)?,
        (None, Some(shim)) => {
            BootstrapParams::read(&shim.bundle).map_err(|e| Error::new(Step::Find, Cause::Bootstrap(e)))?
        }
        (None, None) => return Err(Error::new(Step::Find, Refused::NoSuchSandbox)),
    };
    if params.api == TaskApi::TtrpcV2 {
        return Ok(launch);
    }
    let binary = if let Some(shim) = sandbox {
        shim.binary.clone()
    } else {
        // Its `delete` action is needed if the shim dies with the task in it.
        let runtime = request.runtime.parse().map_err(|e| Error::new(Step::Check, Cause::Resolve(e)))?;
        let found = launching::find(env, runtime).await;
        found.unwrap_or_else(|_| ShimBinary::formerly_at(request.runtime.as_ref()))
    };
    Ok(How::Join(Point { binary, params, sandbox: place.sandbox.clone() }))
}

/// `<protocol>+<address>`, as containerd's clients have it.
fn parse(endpoint: &str, version: u32) -> Result<BootstrapParams, Error> {
    let refused = |reason: String| {
        Error::new(Step::Check, Refused::BadEndpoint { endpoint: endpoint.to_owned(), reason })
    };
    let (protocol, address) =
        endpoint.split_once('+').ok_or_else(|| refused("there is no '+' after a protocol".into()))?;
    let api = TaskApi::new(version.into(), protocol).map_err(|e| refused(e.to_string()))?;
    let address = Address::parse(address, api).map_err(|e| refused(e.to_string()))?;
    Ok(BootstrapParams { api, address })
}

#[cfg(test)]
mod tests {
    use shimkeeper_core::Kind;

    use super::*;

    #[test]
    fn an_endpoint_is_a_protocol_and_an_address() {
        let params = parse("ttrpc+unix:///run/s/1", 3).unwrap();
        assert_eq!((params.api, params.address), (TaskApi::TtrpcV3, Address::unix("/run/s/1")));
        for (endpoint, version) in
            [("unix:///run/s", 3), ("http+unix:///run/s", 3), ("ttrpc+unix:///run/s", 9)]
        {
            let error = parse(endpoint, version).unwrap_err();
            assert_eq!(error.kind(), Kind::InvalidArgument, "{error}");
        }
    }
}
