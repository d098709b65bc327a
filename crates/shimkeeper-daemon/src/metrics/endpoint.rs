// SPDX-License-Identifier: Apache-2.0
//! Where the figures are fetched: HTTP on an address of the configuration, at containerd's path and at the usual one.
//!
//! Whoever can connect can read, and read only; a few connections at a time, each for one question, with little time to
//! ask it and to take the answer.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{ALLOW, CONTENT_TYPE};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use prometheus_client::encoding::prometheus_text;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Metrics;
use crate::accept::BackOff;
use crate::error::DaemonError;

/// containerd's path, and the usual one.
const PATHS: [&str; 2] = ["/v1/metrics", "/metrics"];
/// Connections at a time; more wait.
const CONNECTIONS: usize = 16;
/// How long a connection may last: who asks for nothing, or reads nothing, keeps others out for no longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A listening socket.
#[derive(Debug)]
pub(crate) struct Endpoint {
    listener: TcpListener,
}

impl Endpoint {
    /// Listens.
    ///
    /// # Cancel safety
    /// Yes.
    pub(crate) async fn open(address: &str) -> Result<Self, DaemonError> {
        let failed = |source| DaemonError::Metrics { address: address.to_owned(), source };
        Ok(Self { listener: TcpListener::bind(address).await.map_err(failed)? })
    }

    /// Where it listens: with the port the kernel chose, if that was left to it.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    /// Serves until `stop`.
    ///
    /// # Cancel safety
    /// Dropping it leaves who is still connected to the runtime.
    pub(crate) async fn serve(self, metrics: Metrics, stop: CancellationToken) {
        let metrics = Arc::new(metrics);
        let (tasks, room) = (TaskTracker::new(), Arc::new(Semaphore::new(CONNECTIONS)));
        let accepting = async {
            let mut back_off = BackOff::default();
            // Never closed, so there always is a place at some time.
            while let Ok(place) = room.clone().acquire_owned().await {
                match self.listener.accept().await {
                    Ok((stream, _)) => {
                        back_off.reset();
                        let (metrics, stop) = (metrics.clone(), stop.clone());
                        tasks.spawn(async move {
                            stop.run_until_cancelled(connection(stream, metrics)).await;
                            drop(place);
                        });
                    }
                    Err(error) => back_off.failed("metrics", &error).await,
                }
            }
        };
        stop.run_until_cancelled(accepting).await;
        tasks.close();
        tasks.wait().await;
    }
}

async fn connection(stream: TcpStream, metrics: Arc<Metrics>) {
    let mut http = http1::Builder::new();
    http.keep_alive(false).header_read_timeout(None);
    let answer = service_fn(move |request: Request<Incoming>| {
        let answer = answer(request.method(), request.uri().path(), &metrics);
        std::future::ready(Ok::<_, Infallible>(answer))
    });
    match timeout(PATIENCE, http.serve_connection(TokioIo::new(stream), answer)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            let error: &dyn std::error::Error = &error;
            tracing::debug!(error, "a connection for figures broke");
        }
        Err(_) => tracing::debug!("a connection for figures took too long"),
    }
}

fn answer(method: &Method, path: &str, metrics: &Metrics) -> Response<String> {
    let mut response = Response::new(String::new());
    if !PATHS.contains(&path) {
        *response.status_mut() = StatusCode::NOT_FOUND;
        *response.body_mut() = format!("there is nothing here; figures are at {}\n", PATHS.join(" and "));
    } else if method == Method::GET || method == Method::HEAD {
        let kind = http::HeaderValue::from_static(prometheus_text::CONTENT_TYPE);
        response.headers_mut().insert(CONTENT_TYPE, kind);
        *response.body_mut() = metrics.text();
    } else {
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        response.headers_mut().insert(ALLOW, http::HeaderValue::from_static("GET, HEAD"));
    }
    response
}
