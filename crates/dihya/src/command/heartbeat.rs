//! `dihya heartbeat`: signs of life from jobs.

use http::Method;

use super::{block_on, segment};
use crate::cli::HeartbeatCommand;
use crate::client::Client;
use crate::failure::DONE;

/// Sends one beat. The id is the secret: no token is sent unless its file is named, for a heartbeat without one.
pub(super) fn run(command: HeartbeatCommand) -> anyhow::Result<u8> {
    let HeartbeatCommand::Ping { id, start, fail, exit, remote } = command;
    let what = match (start, fail, exit) {
        (true, _, _) => "/start".to_owned(),
        (_, true, _) => "/fail".to_owned(),
        (_, _, Some(code)) => format!("/{code}"),
        _ => String::new(),
    };
    let client = Client::anonymous(&remote)?;
    let path = format!("/api/dihya/v1/heartbeats/{}{what}", segment(&id));
    block_on(client.send(Method::POST, &path, &serde_json::Value::Null))?;
    Ok(DONE)
}
