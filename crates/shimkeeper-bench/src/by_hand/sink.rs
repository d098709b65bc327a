// SPDX-License-Identifier: Apache-2.0
//! A socket for events that answers every one and looks at none.

use std::io::{self, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use prost::Message as _;

use super::wire::{self, RESPONSE, Response};

/// The socket. Its threads end with the connections they serve, and the one that accepts with the sink.
#[derive(Debug)]
pub(crate) struct EventSink {
    path: PathBuf,
    accepting: Option<JoinHandle<()>>,
}

impl EventSink {
    pub(super) fn listen(path: PathBuf) -> io::Result<Self> {
        let listener = UnixListener::bind(&path)?;
        let accepting =
            std::thread::Builder::new().name("sink".to_owned()).spawn(move || accept(&listener))?;
        Ok(Self { path, accepting: Some(accepting) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Accepts until somebody connects after the socket has lost its name.
fn accept(listener: &UnixListener) {
    for stream in listener.incoming() {
        let Ok(stream) = stream else { break };
        let is_last_call = listener.local_addr().is_ok_and(|a| !a.as_pathname().is_some_and(Path::exists));
        if is_last_call {
            break;
        }
        std::thread::spawn(move || answer(stream));
    }
}

/// Until the shim hangs up.
fn answer(mut stream: UnixStream) {
    let nothing = Response::default().encode_to_vec();
    while let Ok((id, _event)) = wire::read(&mut stream) {
        if stream.write_all(&wire::frame(id, RESPONSE, &nothing)).is_err() {
            break;
        }
    }
}

impl Drop for EventSink {
    fn drop(&mut self) {
        let Some(accepting) = self.accepting.take() else { return };
        // The listener is woken through a second name, so that it finds the first one gone.
        let alias = self.path.with_extension("last");
        let woken = std::fs::rename(&self.path, &alias).and_then(|()| UnixStream::connect(&alias));
        let _ = std::fs::remove_file(&alias);
        if woken.is_ok() {
            let _ = accepting.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_answered_and_the_sink_ends() {
        let dirs = shimkeeper_testkit::TestDirs::new();
        let sink = EventSink::listen(dirs.socket("sink")).unwrap();
        let mut shim = UnixStream::connect(sink.path()).unwrap();
        for id in [1, 3] {
            shim.write_all(&wire::frame(id, 1, b"event")).unwrap();
            assert_eq!(wire::read(&mut shim).unwrap().0, id);
        }
        drop(shim);
        drop(sink);
    }
}
