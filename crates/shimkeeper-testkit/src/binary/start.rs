// SPDX-License-Identifier: Apache-2.0
//! `start`: goes through the steps of the script. The honest two are to start a server that listens, and to say where.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use prost::Message;
use shimkeeper_proto::containerd::runtime::bootstrap::v1::{BootstrapParams, BootstrapResult};

use super::{Args, Failed, complain, idle, leave_child_on_pipes};
use crate::script::{Answer, BUNDLE_FILE, Dialect, Format, SCRIPT_ENV, SOCKET_DIR_ENV, Script, StartStep};

pub(super) fn run(args: &Args) -> Result<ExitCode, Failed> {
    let bundle = std::env::current_dir().map_err(|e| format!("finding the bundle: {e}"))?;
    let named = std::env::var_os(SCRIPT_ENV).map(PathBuf::from);
    let script = Script::find(&bundle, named.as_deref()).map_err(|e| e.to_string())?;
    script.write(bundle.join(BUNDLE_FILE)).map_err(|e| format!("writing {BUNDLE_FILE}: {e}"))?;
    let params = bootstrap_params(args)?;
    check_dialect(script.stdin, params.as_ref())?;
    let helper = Helper { args, socket: socket(&script, args, &bundle, params.as_ref()), bundle, script };
    for step in &helper.script.start {
        if let Some(code) = helper.step(step)? {
            return Ok(code);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What the steps have in common.
struct Helper<'a> {
    args: &'a Args,
    socket: PathBuf,
    bundle: PathBuf,
    script: Script,
}

impl Helper<'_> {
    /// Does one step. Some code: the helper ends.
    fn step(&self, step: &StartStep) -> Result<Option<ExitCode>, Failed> {
        match step {
            StartStep::Serve => self.serve()?,
            StartStep::DeadSocket => {
                let bound = UnixListener::bind(&self.socket);
                bound.map(drop).map_err(|e| format!("binding {}: {e}", self.socket.display()))?;
            }
            StartStep::Answer(answer) => print(&self.answer(answer))?,
            StartStep::Print(bytes) => print(bytes.as_slice())?,
            StartStep::Flood(bytes) => flood(*bytes),
            StartStep::Stderr(text) => complain(text),
            StartStep::Delay(ms) => idle(Duration::from_millis(*ms)),
            StartStep::ForkHoldPipe(ms) => leave_child_on_pipes(*ms)?,
            StartStep::DeleteBundle => {
                fs::remove_dir_all(&self.bundle).map_err(|e| format!("removing the bundle: {e}"))?;
            }
            StartStep::Hang => idle(Duration::from_millis(self.script.lifetime_ms)),
            StartStep::Exit(code) => {
                return Ok(Some(u8::try_from(*code).map_or(ExitCode::FAILURE, ExitCode::from)));
            }
        }
        Ok(None)
    }

    /// Starts the server and waits until it listens; joins one that already does. Of several helpers of one group one
    /// does so at a time: a socket that is about to be listened on is not to be taken for a dead one.
    fn serve(&self) -> Result<(), Failed> {
        let path = self.socket.with_extension("lock");
        let lock = fs::File::create(&path).map_err(|e| format!("making {}: {e}", path.display()))?;
        lock.lock().map_err(|e| format!("locking {}: {e}", path.display()))?;
        if UnixStream::connect(&self.socket).is_ok() {
            return Ok(());
        }
        // What nobody listens on is what a killed server left.
        let _ = fs::remove_file(&self.socket);
        let exe = std::env::current_exe().map_err(|e| format!("finding this executable: {e}"))?;
        let mut server = Command::new(exe)
            .args(["-namespace", &self.args.namespace, "-id", &self.args.id, "-address", &self.args.address])
            .arg("-socket")
            .arg(&self.socket)
            .arg("serve")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| format!("starting the server: {e}"))?;
        let mut line = String::new();
        if let Some(from) = server.stdout.take() {
            BufReader::new(from).read_line(&mut line).map_err(|e| format!("waiting for the server: {e}"))?;
        }
        match line.trim() {
            "ready" => Ok(()),
            "" => Err("the server ended before it was ready".into()),
            why => Err(why.to_owned()),
        }
    }

    fn answer(&self, answer: &Answer) -> Vec<u8> {
        let address = answer.address.as_deref().unwrap_or("unix://{socket}");
        let address = address.replace("{socket}", &self.socket.to_string_lossy());
        match answer.format {
            Format::Json => {
                let json = serde_json::json!({
                    "version": answer.version, "address": address, "protocol": answer.protocol,
                });
                json.to_string().into_bytes()
            }
            Format::Legacy => address.into_bytes(),
            Format::Proto => BootstrapResult {
                version: i32::try_from(answer.version).unwrap_or(i32::MAX),
                address,
                protocol: answer.protocol.clone(),
                ..BootstrapResult::default()
            }
            .encode_to_vec(),
        }
    }
}

/// What came on standard input, if it is the newer form: a message that names the task the flags name.
fn bootstrap_params(args: &Args) -> Result<Option<BootstrapParams>, Failed> {
    const MOST: u64 = 10 << 20;
    let mut input = Vec::new();
    io::stdin().take(MOST).read_to_end(&mut input).map_err(|e| format!("reading standard input: {e}"))?;
    let params = BootstrapParams::decode(&input[..]).ok();
    Ok(params.filter(|params| params.instance_id == args.id && params.namespace == args.namespace))
}

fn check_dialect(accepted: Dialect, params: Option<&BootstrapParams>) -> Result<(), Failed> {
    match (accepted, params) {
        (Dialect::Bootstrap, None) => {
            Err("shim was started through the deprecated API: bootstrap parameters are required".into())
        }
        (Dialect::Legacy, Some(_)) => Err("unmarshalling the options: unexpected message".into()),
        _ => Ok(()),
    }
}

/// The same for every start of one task, or one group of them, under one manager, as a real shim's.
fn socket(script: &Script, args: &Args, bundle: &Path, params: Option<&BootstrapParams>) -> PathBuf {
    let told = params.and_then(|params| params.socket_dir.clone()).map(PathBuf::from);
    let from_env = || std::env::var_os(SOCKET_DIR_ENV).map(PathBuf::from);
    let dir = script.socket_dir.clone().or(told).or_else(from_env).unwrap_or_else(|| bundle.to_owned());
    let mut hasher = DefaultHasher::new();
    let group = group(bundle).unwrap_or_else(|| args.id.clone());
    (&args.address, &args.namespace, &group).hash(&mut hasher);
    dir.join(format!("{:016x}", hasher.finish()))
}

/// The group that the annotations of the container's spec name: those of one group share one shim, as with runc's.
fn group(bundle: &Path) -> Option<String> {
    let spec: serde_json::Value = serde_json::from_slice(&fs::read(bundle.join("config.json")).ok()?).ok()?;
    let named = |name: &str| Some(spec["annotations"][name].as_str()?.to_owned());
    named("io.containerd.runc.v2.group").or_else(|| named("io.kubernetes.cri.sandbox-id"))
}

fn print(bytes: &[u8]) -> Result<(), Failed> {
    let mut out = io::stdout();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(|e| format!("writing the answer: {e}"))
}

/// Prints until it is enough or nobody takes it.
fn flood(bytes: u64) {
    let chunk = [b'x'; 1 << 12];
    let mut left = bytes;
    let mut out = io::stdout().lock();
    while left > 0 {
        let n = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
        if out.write_all(&chunk[..n]).is_err() {
            return;
        }
        left -= n as u64;
    }
}
