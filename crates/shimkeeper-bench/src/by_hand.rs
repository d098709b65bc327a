// SPDX-License-Identifier: Apache-2.0
//! Side B: the same lifecycle by hand. The fewest steps that take a container from nothing to nothing with the same
//! shim, one after the other and blocking: no manager, no record, no second thought. It is the floor, not a rival:
//! it would not notice a shim that lies, hangs or dies.

mod sink;
mod wire;

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use prost::Message;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use shimkeeper_proto::containerd::runc::v1::Options;
use shimkeeper_proto::containerd::task::v3 as task;
use shimkeeper_proto::google::protobuf::{Any, Empty};
use shimkeeper_shim::{Address, BootstrapParams};

use crate::error::BenchError;
use crate::orphans;
use crate::phase::{Laps, Phase};
use crate::site::{NAMESPACE, Site};
use sink::EventSink;
use wire::Wire;

/// The script, and where the shims' events vanish.
#[derive(Debug)]
pub(crate) struct ByHand {
    site: Arc<Site>,
    sink: EventSink,
}

impl ByHand {
    pub(crate) fn new(site: Arc<Site>) -> Result<Self, BenchError> {
        let sink = EventSink::listen(site.dirs.socket("sink")).map_err(|e| BenchError::io("listen", e))?;
        Ok(Self { site, sink })
    }

    /// One lifecycle.
    pub(crate) fn lifecycle(&self) -> Result<Laps, BenchError> {
        let (id, spec) = self.site.container();
        let mut laps = Laps::default();
        let mut lap = Instant::now();

        let bundle = self.site.dirs.path().join("by-hand").join(&id);
        let _log = make_bundle(&bundle, &spec).map_err(|e| BenchError::io("make a bundle", e))?;
        laps.lap(Phase::Bundle, &mut lap);

        let options = self.options();
        let params = self.launch(&id, &bundle, &options)?;
        laps.lap(Phase::Launch, &mut lap);

        let mut wire = connect(&params)?;
        laps.lap(Phase::Dial, &mut lap);

        let create = task::CreateTaskRequest {
            id: id.clone(),
            bundle: bundle.to_string_lossy().into_owned(),
            options: Some(options),
            ..task::CreateTaskRequest::default()
        };
        let _: task::CreateTaskResponse = wire.call("Create", &create)?;
        laps.lap(Phase::Create, &mut lap);

        // Whom to wait for at the end; not measured, because a script that owns its shims knows it otherwise.
        let shim: task::ConnectResponse = wire.call("Connect", &task::ConnectRequest { id: id.clone() })?;
        let process = open_process(shim.shim_pid)?;

        lap = Instant::now();
        let init = String::new;
        let _: task::StartResponse =
            wire.call("Start", &task::StartRequest { id: id.clone(), exec_id: init() })?;
        laps.lap(Phase::Start, &mut lap);

        let exit: task::WaitResponse =
            wire.call("Wait", &task::WaitRequest { id: id.clone(), exec_id: init() })?;
        laps.lap(Phase::Run, &mut lap);

        let _: task::DeleteResponse =
            wire.call("Delete", &task::DeleteRequest { id: id.clone(), exec_id: init() })?;
        // It may end faster than its answer gets out; that it has ended is seen below.
        let _: Result<Empty, _> = wire.call("Shutdown", &task::ShutdownRequest { id, now: false });
        wait_for(&process)?;
        fs::remove_dir_all(&bundle).map_err(|e| BenchError::io("remove a bundle", e))?;
        laps.lap(Phase::End, &mut lap);

        orphans::collect(Some(shim.shim_pid));
        if exit.exit_status == 0 { Ok(laps) } else { Err(BenchError::Status(exit.exit_status)) }
    }

    /// So many of them, as many at once as may be; how long they took together.
    pub(crate) fn many(&self, in_flight: usize, total: usize) -> Result<Duration, BenchError> {
        let (next, began) = (AtomicUsize::new(0), Instant::now());
        let lane = || -> Result<(), BenchError> {
            while next.fetch_add(1, Ordering::Relaxed) < total {
                self.lifecycle()?;
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let lanes: Vec<_> = (0..in_flight).map(|_| scope.spawn(lane)).collect();
            lanes
                .into_iter()
                .try_for_each(|lane| lane.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })?;
        Ok(began.elapsed())
    }

    /// What the library tells the shim of runc, too.
    fn options(&self) -> Any {
        shimkeeper_proto::pack(&Options {
            binary_name: self.site.runtime_binary.clone(),
            root: self.site.dirs.path().join("runc").to_string_lossy().into_owned(),
            ..Options::default()
        })
    }

    fn launch(&self, id: &str, bundle: &Path, options: &Any) -> Result<BootstrapParams, BenchError> {
        let io = |e| BenchError::io("run the shim", e);
        let address = self.site.dirs.socket("hand");
        let mut child = Command::new(&self.site.shim)
            .args(["-namespace", NAMESPACE, "-id", id, "-publish-binary", "/bin/true", "-address"])
            .arg(&address)
            .arg("start")
            .current_dir(bundle)
            .env("GOMAXPROCS", "2")
            .env("MAX_SHIM_VERSION", "2")
            .env("NAMESPACE", NAMESPACE)
            .env("GRPC_ADDRESS", &address)
            .env("TTRPC_ADDRESS", self.sink.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(io)?;
        if let Some(mut stdin) = child.stdin.take() {
            std::io::Write::write_all(&mut stdin, &options.encode_to_vec()).map_err(io)?;
        }
        let output = child.wait_with_output().map_err(io)?;
        BootstrapParams::parse(&output.stdout)
            .map_err(|_| BenchError::Launch { said: String::from_utf8_lossy(&output.stdout).into_owned() })
    }
}

/// The bundle, and the open end of the log that no shim starts without.
fn make_bundle(bundle: &Path, spec: &[u8]) -> std::io::Result<fs::File> {
    fs::create_dir_all(bundle.join("rootfs"))?;
    fs::write(bundle.join("config.json"), spec)?;
    let log = bundle.join("log");
    mknodat(CWD, &log, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    fs::File::options().read(true).write(true).open(log)
}

fn connect(params: &BootstrapParams) -> Result<Wire, BenchError> {
    let stream = match &params.address {
        Address::Unix(path) => UnixStream::connect(path),
        _ => return Err(BenchError::Launch { said: format!("{params:?}") }),
    };
    Ok(Wire::new(stream.map_err(|e| BenchError::io("connect to the shim", e))?, params.api.service()))
}

fn open_process(pid: u32) -> Result<rustix::fd::OwnedFd, BenchError> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| BenchError::Launch { said: "no process id".to_owned() })?;
    pidfd_open(pid, PidfdFlags::empty()).map_err(|e| BenchError::io("open the shim's process", e))
}

fn wait_for(process: &rustix::fd::OwnedFd) -> Result<(), BenchError> {
    let mut fds = [PollFd::new(process, PollFlags::IN)];
    poll(&mut fds, None).map(drop).map_err(|e| BenchError::io("wait for the shim", e))
}
