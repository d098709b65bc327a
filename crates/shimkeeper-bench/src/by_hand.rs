// SPDX-License-Identifier: Apache-2.0
//! Side B: the same lifecycle by hand. The fewest steps that take a container from nothing to nothing with the same
//! shim, one after the other and blocking: no manager, no record, no second thought. It is the floor, not a rival:
//! it would not notice a shim that lies, hangs or dies.

mod container;
mod sink;
mod wire;

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use prost::Message;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use shimkeeper_proto::containerd::runc::v1::Options;
use shimkeeper_proto::google::protobuf::Any;
use shimkeeper_shim::{Address, BootstrapParams};

use crate::error::BenchError;
use crate::orphans;
use crate::phase::{Laps, Phase};
use crate::site::{NAMESPACE, Site};
use container::{Container, INIT};
use sink::EventSink;
use wire::Wire;

/// The longest that a shim may take to answer.
const PATIENCE: Duration = Duration::from_mins(2);

/// A container that runs, and what is executed in it.
#[derive(Debug)]
pub(crate) struct Sleeper {
    container: Container,
    process: Bytes,
}

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
        let mut container = self.create(id, &spec, &mut laps)?;

        let mut lap = Instant::now();
        container.start(INIT)?;
        laps.lap(Phase::Start, &mut lap);

        let status = container.wait(INIT)?;
        laps.lap(Phase::Run, &mut lap);

        container.delete(INIT)?;
        let shim = container.end()?;
        laps.lap(Phase::End, &mut lap);

        orphans::collect(Some(shim));
        if status == 0 { Ok(laps) } else { Err(BenchError::Status(status)) }
    }

    /// A container that runs until it is ended, for additional processes.
    pub(crate) fn sleeper(&self) -> Result<Sleeper, BenchError> {
        let (id, spec) = self.site.sleeper(false);
        let mut container = self.create(id, &spec, &mut Laps::default())?;
        container.start(INIT)?;
        Ok(Sleeper { container, process: self.site.process(&["/bin/true"]) })
    }

    /// From no directory to a container that can be started.
    fn create(&self, id: String, spec: &[u8], laps: &mut Laps) -> Result<Container, BenchError> {
        let mut lap = Instant::now();
        let bundle = self.site.dirs.path().join("by-hand").join(&id);
        let log = make_bundle(&bundle, spec).map_err(|e| BenchError::io("make a bundle", e))?;
        laps.lap(Phase::Bundle, &mut lap);

        let options = self.options();
        let params = self.launch(&id, &bundle, &options)?;
        laps.lap(Phase::Launch, &mut lap);

        let wire = connect(&params)?;
        laps.lap(Phase::Dial, &mut lap);

        Container::create(wire, id, bundle, log, options, || laps.lap(Phase::Create, &mut lap))
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

impl Sleeper {
    /// One additional process: added, started, ended, removed; how long it took.
    pub(crate) fn exec(&mut self, exec: &str) -> Result<Duration, BenchError> {
        let began = Instant::now();
        self.container.add(exec, self.process.clone())?;
        self.container.start(exec)?;
        let status = self.container.wait(exec)?;
        self.container.delete(exec)?;
        if status == 0 { Ok(began.elapsed()) } else { Err(BenchError::Status(status)) }
    }

    pub(crate) fn end(mut self) -> Result<(), BenchError> {
        self.container.kill()?;
        self.container.wait(INIT)?;
        self.container.delete(INIT)?;
        self.container.end().map(|shim| orphans::collect(Some(shim)))
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
    let io = |e| BenchError::io("connect to the shim", e);
    let stream = stream.map_err(io)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(io)?;
    Ok(Wire::new(stream, params.api.service()))
}
