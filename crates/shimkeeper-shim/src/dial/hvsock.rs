// SPDX-License-Identifier: Apache-2.0
//! A port of a virtual machine behind its hypervisor's unix socket: `CONNECT <port>`, answered by `OK …`.

use shimkeeper_ttrpc::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{DialError, Failure};
use crate::Address;

/// Longest answer that is read; hypervisors answer with `OK` and a port number.
const MAX_ANSWER_BYTES: usize = 128;

/// Asks for the port; afterwards the stream is the guest's.
///
/// A hypervisor that hangs up has no listener for the port yet: the guest may still be starting.
pub(super) async fn request(mut stream: Stream, port: u32, address: &Address) -> Result<Stream, Failure> {
    let hung_up = || Failure::Again("the hypervisor hung up: nothing listens on the port yet".to_owned());
    if stream.write_all(format!("CONNECT {port}\n").as_bytes()).await.is_err() {
        return Err(hung_up());
    }
    let mut answer = Vec::new();
    loop {
        // Byte by byte: what follows the line belongs to the guest, who may speak first.
        match stream.read_u8().await {
            Ok(b'\n') => break,
            Ok(byte) if answer.len() < MAX_ANSWER_BYTES => answer.push(byte),
            Ok(_) => return Err(refused(&answer, address)),
            Err(_end) => return Err(hung_up()),
        }
    }
    if answer.windows(2).any(|pair| pair == b"OK") { Ok(stream) } else { Err(refused(&answer, address)) }
}

fn refused(answer: &[u8], address: &Address) -> Failure {
    let answer = String::from_utf8_lossy(answer).trim_end().to_owned();
    Failure::Final(DialError::Hypervisor { address: address.to_string(), answer })
}
