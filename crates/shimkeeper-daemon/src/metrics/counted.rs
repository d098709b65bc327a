// SPDX-License-Identifier: Apache-2.0
//! What is counted as it happens: it observes the library and the API.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use shimkeeper::{Asked, Dropped, Kind, Provenance, runtime_name};
use tonic::Code;

use crate::calls::has_end;

/// Upper bounds of what shims are given time for, in seconds: a quick answer takes a millisecond, a creation a second.
const SECONDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0, 60.0];

/// What is counted. A clone counts the same.
#[derive(Clone, Debug)]
pub(crate) struct Counted {
    shim_seconds: Family<ShimMethod, Histogram, Buckets>,
    shim_calls: Family<ShimOutcome, Counter>,
    shim_timeouts: Family<ShimMethod, Counter>,
    exits: Family<Source, Counter>,
    dropped: Family<Reason, Counter>,
    requests: Family<Request, Counter>,
    /// Costs a dozen series for every method, so there only if it is wanted.
    request_seconds: Option<Family<ApiMethod, Histogram, Buckets>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ShimMethod {
    runtime: String,
    method: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ShimOutcome {
    runtime: String,
    method: &'static str,
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Source {
    provenance: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    service: String,
    method: String,
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ApiMethod {
    service: String,
    method: String,
}

/// Makes a histogram of durations.
#[derive(Clone, Copy, Debug)]
struct Buckets;

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(SECONDS)
    }
}

impl Counted {
    /// `request_seconds`: whether it is measured how long calls of clients take.
    pub(crate) fn new(request_seconds: bool) -> Self {
        Self {
            shim_seconds: Family::new_with_constructor(Buckets),
            shim_calls: Family::default(),
            shim_timeouts: Family::default(),
            exits: Family::default(),
            dropped: Family::default(),
            requests: Family::default(),
            request_seconds: request_seconds.then(|| Family::new_with_constructor(Buckets)),
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        let Self { shim_seconds, shim_calls, shim_timeouts, exits, dropped, requests, request_seconds } =
            self.clone();
        registry.register_with_unit(
            "shim_call",
            "How long shims took to answer, and their binaries to launch and to reap",
            Unit::Seconds,
            shim_seconds,
        );
        registry.register("shim_calls", "Calls to shims, by how they ended", shim_calls);
        registry.register("shim_timeouts", "Calls to shims that were given no answer in time", shim_timeouts);
        registry.register("exits", "Exits of processes, by how their status is known", exits);
        registry.register("events_dropped", "Events of shims that were not passed on, by why", dropped);
        registry.register("api_requests", "Calls of clients, by how they ended", requests);
        if let Some(seconds) = request_seconds {
            registry.register_with_unit(
                "api_request",
                "How long calls of clients took; only with grpc_histogram",
                Unit::Seconds,
                seconds,
            );
        }
    }
}

impl shimkeeper::Observer for Counted {
    fn asked(&self, asked: &Asked<'_>) {
        let (runtime, method) = (runtime_name(asked.binary), asked.method);
        let code = asked.outcome.map_or_else(|kind| code_name(Code::from_i32(kind.code())), |()| "Ok");
        let of_method = ShimMethod { runtime: runtime.clone(), method };
        self.shim_seconds.get_or_create(&of_method).observe(asked.took.as_secs_f64());
        let timeouts = self.shim_timeouts.get_or_create(&of_method);
        if asked.outcome == Err(Kind::DeadlineExceeded) {
            timeouts.inc();
        }
        self.shim_calls.get_or_create(&ShimOutcome { runtime, method, code }).inc();
    }

    fn exited(&self, provenance: Provenance) {
        self.exits.get_or_create(&Source { provenance: provenance.as_str() }).inc();
    }

    fn dropped(&self, why: Dropped) {
        self.dropped.get_or_create(&Reason { reason: why.as_str() }).inc();
    }
}

impl shimkeeper_api::Observer for Counted {
    fn called(&self, path: &str, code: Code, took: Duration) {
        let (service, method) = path.trim_start_matches('/').split_once('/').unwrap_or((path, ""));
        let (service, method) = (service.to_owned(), method.to_owned());
        if let Some(seconds) = self.request_seconds.as_ref().filter(|_| has_end(path)) {
            let of_method = ApiMethod { service: service.clone(), method: method.clone() };
            seconds.get_or_create(&of_method).observe(took.as_secs_f64());
        }
        self.requests.get_or_create(&Request { service, method, code: code_name(code) }).inc();
    }
}

/// A status code as gRPC's documents spell it, in the form dashboards know.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "Ok",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}
