// SPDX-License-Identifier: Apache-2.0
//! `shimkeeper ps`: the containers of a namespace.

use serde::Serialize;

use super::args::PsArgs;
use super::filter;
use super::find::{self, Found};
use super::print;
use super::server::Server;
use super::view::{Summary, TaskView};
use crate::failure::Failure;
use crate::output::Output;

#[derive(Debug, Serialize)]
struct Listed<'a> {
    namespace: &'a str,
    containers: Vec<Summary>,
}

pub(super) async fn ps(args: &PsArgs) -> Result<u8, Failure> {
    let namespace = &args.within.namespace;
    let server = Server::connect(&args.server, Some(namespace)).await?;
    let found = Found::look(&server).await?;
    let mut containers = Vec::new();
    for id in found.ids() {
        let task = match found.tasks.get(id) {
            Some(task) => Some(TaskView::new(task)),
            // Not listed may also mean that its shim did not answer: that is no proof that nothing runs.
            None => match find::task(&server, id).await {
                Ok(task) => task.as_ref().map(TaskView::new),
                Err(_) => Some(TaskView::unknown()),
            },
        };
        let one = Summary::new(id, found.records.get(id), task);
        let wanted = args.all || filter::ask_for_ended(&args.filter) || one.may_run();
        if wanted && filter::passes(&args.filter, &one) {
            containers.push(one);
        }
    }
    let listed = Listed { namespace: namespace.as_str(), containers };
    print::write(&match args.server.output {
        Output::Json => print::json("shimkeeper.ps/1", &listed),
        Output::Text if args.quiet => {
            print::table(&listed.containers.iter().map(|one| [one.id.clone()]).collect::<Vec<_>>())
        }
        Output::Text => text(&listed.containers),
    })?;
    Ok(0)
}

fn text(containers: &[Summary]) -> String {
    let mut rows = vec![["ID", "STATUS", "PID", "RUNTIME", "CREATED"].map(str::to_owned)];
    rows.extend(containers.iter().map(Summary::row));
    print::table(&rows)
}
