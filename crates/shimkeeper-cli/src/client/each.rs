// SPDX-License-Identifier: Apache-2.0
//! One thing done to several containers: what fails for one does not keep the others from it.

use serde::Serialize;

use super::args::TargetArgs;
use super::find::Found;
use super::patience::{Progress, patiently};
use super::print::{self, ErrorReport};
use super::server::Server;
use crate::failure::{EXIT_FAILURE, Failure};
use crate::output::Output;

/// ```json
/// {"schema":"shimkeeper.stop/1","done":["web"],"failed":[{"id":"db","error":{"kind":"…","message":"…","hint":"…"}}]}
/// ```
#[derive(Debug, Default, Serialize)]
struct Report {
    done: Vec<String>,
    failed: Vec<Failed>,
}

#[derive(Debug, Serialize)]
struct Failed {
    id: String,
    error: ErrorReport,
}

/// Does it to each, and tells what it is `doing` if that takes long; answers the exit code.
pub(super) async fn each(
    args: &TargetArgs,
    schema: &'static str,
    doing: &str,
    act: impl AsyncFn(&Server, &str, &Progress<'_>) -> Result<(), Failure>,
) -> Result<u8, Failure> {
    let server = Server::connect(&args.server, Some(&args.within.namespace)).await?;
    let found = Found::look(&server).await?;
    let mut report = Report::default();
    let mut told = Ok(true);
    for word in &args.ids {
        let outcome = match found.resolve(word) {
            Ok(id) => {
                let progress = Progress::new(doing);
                let done = Box::pin(act(&server, id, &progress));
                let done = match args.server.output {
                    Output::Text => patiently(&server, id, &progress, done).await,
                    Output::Json => done.await,
                };
                done.map(|()| id)
            }
            Err(failure) => Err(failure),
        };
        match outcome {
            Ok(id) => {
                if args.server.output == Output::Text {
                    told = told.and(print::write(&format!("{id}\n")));
                }
                report.done.push(id.to_owned());
            }
            Err(failure) => {
                failure.print();
                report.failed.push(Failed { id: word.clone(), error: (&failure).into() });
            }
        }
    }
    if args.server.output == Output::Json {
        told = print::write(&print::json(schema, &report));
    }
    told?;
    Ok(if report.failed.is_empty() { 0 } else { EXIT_FAILURE })
}
