// SPDX-License-Identifier: Apache-2.0
//! `shimkeeper version`, `info` and `ns`: the daemon itself.

use std::collections::BTreeMap;

use serde::Serialize;
use shimkeeper_proto::containerd::services::namespaces::v1::ListNamespacesRequest;
use shimkeeper_proto::google::protobuf::Empty;
use shimkeeper_proto::shimkeeper::v1::{AdoptionRequest, ShimsRequest};

use super::print;
use super::server::{Server, ServerArgs, ask, ask_if_served};
use crate::failure::Failure;
use crate::output::Output;

#[derive(Debug, Serialize)]
struct Versions {
    client: Build,
    server: Build,
}

#[derive(Debug, Serialize)]
struct Build {
    version: String,
    /// Null for the client: it is the daemon's own binary.
    revision: Option<String>,
}

#[derive(Debug, Serialize)]
struct Info {
    version: String,
    revision: String,
    uuid: String,
    pid: u64,
    /// Null where the daemon does not tell.
    keeper: Option<Keeper>,
}

/// What only our daemon tells.
#[derive(Debug, Serialize)]
struct Keeper {
    adoption: Adoption,
    /// How many shims are doing how.
    shims: BTreeMap<String, usize>,
    /// What was found at the start and is not known to be a task.
    unknown: Vec<Unknown>,
}

#[derive(Debug, Serialize)]
struct Adoption {
    found: u64,
    finished: bool,
}

#[derive(Debug, Serialize)]
struct Unknown {
    namespace: String,
    id: String,
    reason: String,
}

#[derive(Debug, Serialize)]
struct Namespaces {
    namespaces: Vec<NamespaceView>,
}

#[derive(Debug, Serialize)]
struct NamespaceView {
    name: String,
    labels: BTreeMap<String, String>,
}

pub(super) async fn version(args: &ServerArgs) -> Result<u8, Failure> {
    let client = Build { version: env!("CARGO_PKG_VERSION").to_owned(), revision: None };
    let server = Server::connect(args, None).await?;
    let answer = ask("ask for the daemon's version", server.version().version(Empty::default())).await?;
    let server = Build { version: answer.version, revision: Some(answer.revision) };
    print::write(&match args.output {
        Output::Json => print::json("shimkeeper.version/1", &Versions { client, server }),
        Output::Text => {
            let revision = server.revision.filter(|text| !text.is_empty()).map(|text| format!(" ({text})"));
            let line = format!("{}{}", server.version, revision.unwrap_or_default());
            format!("client  {}\nserver  {}\n", client.version, print::plain(&line))
        }
    })?;
    Ok(0)
}

pub(super) async fn info(args: &ServerArgs) -> Result<u8, Failure> {
    let server = Server::connect(args, None).await?;
    let about = ask("ask for the daemon's version", server.version().version(Empty::default())).await?;
    let process =
        ask("ask for the daemon's process", server.introspection().server(Empty::default())).await?;
    let keeper = keeper(&server).await?;
    let info = Info {
        version: about.version,
        revision: about.revision,
        uuid: process.uuid,
        pid: process.pid,
        keeper,
    };
    print::write(&match args.output {
        Output::Json => print::json("shimkeeper.info/1", &info),
        Output::Text => info.text(),
    })?;
    Ok(0)
}

async fn keeper(server: &Server) -> Result<Option<Keeper>, Failure> {
    let request = AdoptionRequest { wait: false };
    let adoption = ask_if_served("ask how far adoption is", server.keeper().adoption(request)).await?;
    let Some(adoption) = adoption else { return Ok(None) };
    let answer = ask("ask how shims are doing", server.keeper().shims(ShimsRequest::default())).await?;
    let mut shims = BTreeMap::new();
    for shim in &answer.shims {
        *shims.entry(shim.health().as_str_name().to_ascii_lowercase()).or_default() += 1;
    }
    let unknown = answer.unknown.into_iter();
    Ok(Some(Keeper {
        adoption: Adoption { found: adoption.found, finished: adoption.finished },
        shims,
        unknown: unknown
            .map(|one| Unknown { namespace: one.namespace, id: one.id, reason: one.reason })
            .collect(),
    }))
}

impl Info {
    fn text(&self) -> String {
        let mut rows = vec![
            ["version".to_owned(), self.version.clone()],
            ["revision".to_owned(), self.revision.clone()],
            ["uuid".to_owned(), self.uuid.clone()],
            ["pid".to_owned(), self.pid.to_string()],
        ];
        if let Some(Keeper { adoption, shims, unknown }) = &self.keeper {
            let how = if adoption.finished { "all concluded" } else { "not all concluded yet" };
            rows.push(["found".to_owned(), format!("{} at the start, {how}", adoption.found)]);
            let shims = shims.iter().map(|(health, number)| format!("{number} {health}")).collect::<Vec<_>>();
            rows.push([
                "shims".to_owned(),
                if shims.is_empty() { "none".to_owned() } else { shims.join(", ") },
            ]);
            for Unknown { namespace, id, reason } in unknown {
                let why = if reason.is_empty() { "no verdict yet" } else { reason };
                rows.push(["unknown".to_owned(), format!("{namespace}/{id}: {why}")]);
            }
        }
        rows.retain(|[_, value]| !value.is_empty());
        print::table(&rows)
    }
}

pub(super) async fn namespaces(args: &ServerArgs) -> Result<u8, Failure> {
    let server = Server::connect(args, None).await?;
    let mut stub = server.namespaces();
    let answer = ask("list namespaces", stub.list(ListNamespacesRequest::default())).await?;
    let namespaces = answer.namespaces.into_iter();
    let listed = Namespaces {
        namespaces: namespaces.map(|one| NamespaceView { name: one.name, labels: one.labels }).collect(),
    };
    print::write(&match args.output {
        Output::Json => print::json("shimkeeper.ns/1", &listed),
        Output::Text => {
            let mut rows = vec![["NAME", "LABELS"].map(str::to_owned)];
            rows.extend(listed.namespaces.iter().map(|one| [one.name.clone(), print::labels(&one.labels)]));
            print::table(&rows)
        }
    })?;
    Ok(0)
}
