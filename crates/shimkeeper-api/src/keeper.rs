// SPDX-License-Identifier: Apache-2.0
//! `Keeper`: what containerd's API has no words for. Documented for clients in `proto/shimkeeper/v1/keeper.proto`.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use shimkeeper::events::{Filters, Replayed};
use shimkeeper::{Error, EventsSince, ExitRecord, HealthState, Kind, Provenance, Task};
use shimkeeper_proto::shimkeeper::v1 as wire;
use shimkeeper_proto::shimkeeper::v1::keeper_server::Keeper;
use tonic::codegen::tokio_stream::Stream;
use tonic::{Request, Response, Status, async_trait};

use crate::inner::Inner;
use crate::{convert, status};

pub(crate) struct KeeperService(pub(crate) Arc<Inner>);

#[async_trait]
impl Keeper for KeeperService {
    async fn adoption(
        &self,
        request: Request<wire::AdoptionRequest>,
    ) -> Result<Response<wire::AdoptionResponse>, Status> {
        let manager = &self.0.manager;
        let adoption = if request.get_ref().wait { manager.adopted().await } else { manager.adoption() };
        let verdicts = adoption.verdicts.iter().map(|(key, verdict)| wire::Verdict {
            namespace: key.namespace.to_string(),
            id: key.id.to_string(),
            verdict: verdict.to_string(),
        });
        Ok(Response::new(wire::AdoptionResponse {
            found: adoption.found as u64,
            finished: adoption.finished,
            verdicts: verdicts.collect(),
        }))
    }

    async fn shims(
        &self,
        request: Request<wire::ShimsRequest>,
    ) -> Result<Response<wire::ShimsResponse>, Status> {
        let namespace = request.get_ref().namespace.as_str();
        let wanted = |of: &str| namespace.is_empty() || of == namespace;
        // Not even a moment's patience: what there is no verdict on is told as that.
        let survey = self.0.manager.survey(Duration::ZERO).await;
        let shims = survey.tasks.iter().filter(|task| wanted(task.key().namespace.as_str()));
        let unknown = survey.unknown.into_iter().filter(|found| wanted(found.key.namespace.as_str()));
        Ok(Response::new(wire::ShimsResponse {
            shims: shims.map(shim).collect(),
            unknown: unknown
                .map(|found| wire::Unknown {
                    namespace: found.key.namespace.to_string(),
                    id: found.key.id.to_string(),
                    reason: found.reason.unwrap_or_default(),
                })
                .collect(),
        }))
    }

    async fn exit(
        &self,
        request: Request<wire::ExitRequest>,
    ) -> Result<Response<wire::ExitResponse>, Status> {
        let wire::ExitRequest { container_id, exec_id } = request.get_ref();
        let target = self.0.target(&request, container_id, exec_id).await?;
        Ok(Response::new(target.exit().map(exit).unwrap_or_default()))
    }

    type EventsStream = Numbered;

    async fn events(
        &self,
        request: Request<wire::EventsRequest>,
    ) -> Result<Response<Self::EventsStream>, Status> {
        let wire::EventsRequest { filters, since } = request.into_inner();
        let filters = Filters::parse(&filters).map_err(|e| status::of_filter(&e))?;
        let events = self.0.manager.events_since(filters, since).await;
        Ok(Response::new(Numbered::new(events.map_err(|e| status::of_library(&e))?)))
    }
}

fn shim(task: &Task) -> wire::Shim {
    use wire::shim::Health;
    let health = task.health();
    wire::Shim {
        namespace: task.key().namespace.to_string(),
        id: task.key().id.to_string(),
        incarnation: task.incarnation().to_string(),
        binary: task.shim_binary().to_string_lossy().into_owned(),
        pid: task.shim_pid().unwrap_or_default(),
        task_pid: task.pid().unwrap_or_default(),
        health: match health.state {
            HealthState::Healthy => Health::Healthy,
            HealthState::Slow => Health::Slow,
            HealthState::Stuck => Health::Stuck,
            HealthState::Gone => Health::Gone,
            _ => Health::Unspecified,
        }
        .into(),
        reason: health.reason,
        since: Some(convert::timestamp(health.since)),
        log: task.shim_log(),
    }
}

fn exit(record: ExitRecord) -> wire::ExitResponse {
    use wire::exit_response::Provenance as How;
    let exit = record.exit;
    wire::ExitResponse {
        provenance: match exit.provenance {
            Provenance::Observed => How::Observed,
            Provenance::Recovered => How::Recovered,
            Provenance::Inferred => How::Inferred,
            Provenance::Unknown => How::Unknown,
        }
        .into(),
        pid: exit.pid,
        exit_status: exit.status,
        exited_at: Some(convert::timestamp(exit.at)),
        out_of_memory: record.is_out_of_memory(),
    }
}

/// Events with their numbers, as messages.
pub(crate) struct Numbered(Next);

/// The reading of the next one; it has the events, and gives them back.
type Next = Pin<Box<dyn Future<Output = (EventsSince, Result<Option<Replayed>, Error>)> + Send>>;

impl Numbered {
    fn new(events: EventsSince) -> Self {
        Self(read(events))
    }
}

fn read(mut events: EventsSince) -> Next {
    Box::pin(async move {
        let next = events.next().await;
        (events, next)
    })
}

impl Stream for Numbered {
    type Item = Result<wire::EventsResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let (events, next) = ready!(self.0.as_mut().poll(cx));
        let position = events.position();
        self.0 = read(events);
        Poll::Ready(Some(match next {
            Ok(Some(item)) => Ok(message(position, item)),
            Ok(None) => Err(status::of(Kind::Unavailable, "the server is shutting down")),
            Err(error) => Err(status::of_library(&error)),
        }))
    }
}

fn message(position: u64, item: Replayed) -> wire::EventsResponse {
    use wire::events_response::Item;
    let (sequence, item) = match item {
        Replayed::Event(event) => {
            let number = event.sequence().map_or(0, std::num::NonZero::get);
            (number, Item::Event(event.to_wire()))
        }
        Replayed::Gap(gap) => (0, Item::Missing(wire::Missing { from: gap.from, to: gap.to })),
    };
    wire::EventsResponse { position, sequence, item: Some(item) }
}
