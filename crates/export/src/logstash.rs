//! `kind: logstash`: JSON lines over TCP or TLS.
//!
//! The protocol has no acknowledgement, and what the kernel took is not what the receiver read. So each batch has a
//! connection of its own: we end our side, and the receiver, which has read everything before it sees that end, closes its
//! own (over TLS it says so, and nobody in between can say it). An end alone is not enough: who closes before he reads ends
//! as well, and only then does his system refuse what comes. So we wait until all was taken or refused. A connection that
//! breaks off is a batch that is sent again: at least once, never exactly.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use disk::Disk;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::config::{LogstashConfig, split_address};
use crate::connect::Target;
use crate::output::{Batch, Failure, Taken};

/// How often a connection that both sides ended is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Sends lines.
pub(crate) struct Logstash {
    target: Target,
    timeout: Duration,
    disk: Arc<dyn Disk>,
    directory: PathBuf,
}

impl Logstash {
    pub(crate) fn new(config: &LogstashConfig, disk: &Arc<dyn Disk>, directory: PathBuf) -> Result<Self, Failure> {
        let (host, port) = split_address(&config.address).ok_or_else(|| Failure::later("cannot read the address"))?;
        let name = config.server_name.clone().unwrap_or_else(|| host.to_owned());
        let (host, tls) = (host.to_owned(), config.tls.then_some(name));
        let target = Target { host, port, tls, ca_file: config.ca_file.clone() };
        Ok(Self { target, timeout: config.timeout, disk: Arc::clone(disk), directory })
    }

    pub(crate) async fn hand_over(&self, batch: &mut Batch) -> Result<Taken, Failure> {
        let lines = batch.lines();
        match tokio::time::timeout(self.timeout, self.send(&lines)).await {
            Ok(Ok(())) => Ok(Taken { sent: batch.take_all(), bytes: lines.len(), ..Taken::default() }),
            Ok(Err(reason)) => Err(Failure::later(reason)),
            Err(_) => Err(Failure::later("the receiver did not read everything in time")),
        }
    }

    async fn send(&self, lines: &[u8]) -> Result<(), String> {
        let broken = |error: std::io::Error| format!("the connection broke off: {}", error.kind());
        let mut stream = self.target.open(&self.disk, &self.directory).await?;
        stream.write_all(lines).await.map_err(broken)?;
        stream.shutdown().await.map_err(broken)?;
        // What it says is of no interest, its end is.
        let mut answer = [0; 1_024];
        while stream.read(&mut answer).await.map_err(broken)? > 0 {}
        // The system knows the other end until both sides have ended and all is acknowledged, or the other one refused.
        while stream.tcp().peer_addr().is_ok() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        match stream.tcp().take_error() {
            Ok(None) => Ok(()),
            Ok(Some(error)) | Err(error) => Err(broken(error)),
        }
    }
}
