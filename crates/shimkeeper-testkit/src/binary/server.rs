// SPDX-License-Identifier: Apache-2.0
//! `serve`: the process that stays. In a session of its own, so nothing that ends its helper ends it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use super::{Args, Failed};
use crate::model::{Model, Spawner};
use crate::outbox::Outbox;
use crate::script::{LogText, Script};
use crate::shim::Shim;
use crate::{host, publisher};

/// How long a server that stops cares for those who still listen.
const GRACE: Duration = Duration::from_secs(1);

pub(super) fn run(args: &Args) -> Result<ExitCode, Failed> {
    let served = detach().and_then(|()| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(|e| format!("making a runtime: {e}"))?.block_on(serve(args))
    });
    // Until it is ready, the helper waits for a line, and tells the manager what it says.
    if let Err(why) = &served {
        let _ = writeln!(io::stdout(), "{why}");
    }
    served.map(|()| ExitCode::SUCCESS)
}

fn detach() -> Result<(), Failed> {
    rustix::process::setsid().map(drop).map_err(|e| format!("making a session: {e}"))
}

async fn serve(args: &Args) -> Result<(), Failed> {
    let bundle = std::env::current_dir().map_err(|e| format!("finding the bundle: {e}"))?;
    // The copy that `start` made: what was named in the environment may have changed since.
    let script = Script::find(&bundle, None).map_err(|e| e.to_string())?;
    let lifetime = Duration::from_millis(script.lifetime_ms);
    let executable = std::env::current_exe().map_err(|e| format!("finding this executable: {e}"))?;
    let log = open_log(&bundle.join("log"));
    write_log(log, script.log.clone());

    let (connections, processes) = (TaskTracker::new(), TaskTracker::new());
    let (outbox, queue) = Outbox::new(&args.namespace, script.events);
    let to = std::env::var_os("TTRPC_ADDRESS").map(Into::into);
    processes.spawn(publisher::deliver_all(queue, to, watch::channel(Vec::new()).0));
    let model = Model::new(Spawner::Real { executable, lifetime }, outbox.clone(), processes);
    let shim = Arc::new(Shim::new(script, model, outbox.clone(), std::process::id(), true));
    let listener = UnixListener::bind(&args.socket).map_err(|e| format!("{}: {e}", args.socket.display()))?;
    shim.halt.listeners.spawn(host::accept(listener, Arc::clone(&shim), connections.clone()));
    ready().map_err(|e| format!("saying so: {e}"))?;

    tokio::select! {
        () = shim.halt.stopping.cancelled() => {}
        () = terminated() => shim.halt.stopping.cancel(),
        () = sleep(lifetime) => {}
    }
    shim.stop_listening().await;
    connections.close();
    let _ = timeout(GRACE, async {
        outbox.flush().await;
        connections.wait().await;
    })
    .await;
    let _ = fs::remove_file(&args.socket);
    Ok(())
}

/// Tells the helper, and lets go of its pipe.
fn ready() -> io::Result<()> {
    writeln!(io::stdout(), "ready").or_else(|e| match e.kind() {
        // A helper that was killed leaves a server that nobody knows: that is how real ones leak.
        io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(e),
    })?;
    let null = OpenOptions::new().write(true).open("/dev/null")?;
    Ok(rustix::stdio::dup2_stdout(null)?)
}

async fn terminated() {
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

/// The log FIFO, if somebody reads it.
fn open_log(path: &Path) -> Option<File> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let log = OpenOptions::new().write(true).custom_flags(flags).open(path).ok()?;
    let blocking = rustix::fs::OFlags::empty();
    rustix::fs::fcntl_setfl(&log, blocking).ok()?;
    Some(log)
}

/// Writes the scripted noise, on a thread of its own: it may block for as long as the reader likes.
fn write_log(log: Option<File>, texts: Vec<LogText>) {
    let Some(mut log) = log else { return };
    std::thread::spawn(move || {
        for text in texts {
            for _ in 0..text.times {
                if log.write_all(text.text.as_bytes()).is_err() {
                    return;
                }
            }
        }
    });
}
