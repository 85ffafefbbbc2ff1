//! What a service manager is told, over the datagram socket that `sd_notify(3)` describes.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use crate::config::reference::env;

/// A service manager that waits to hear from us, if there is one.
pub(crate) struct Supervisor {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// Finds the service manager that started this process.
    pub(crate) fn find() -> Self {
        let watchdog = env("WATCHDOG_USEC")
            .filter(|_| env("WATCHDOG_PID").is_none_or(|pid| pid == std::process::id().to_string()))
            .and_then(|usec| usec.parse().ok())
            .map(Duration::from_micros);
        Self::at(env("NOTIFY_SOCKET").as_deref(), watchdog)
    }

    fn at(path: Option<&str>, watchdog: Option<Duration>) -> Self {
        let address = path.and_then(|path| match path.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name).ok(),
            None => SocketAddr::from_pathname(path).ok(),
        });
        let socket = address.and_then(|address| {
            let socket = UnixDatagram::unbound().ok()?;
            socket.set_nonblocking(true).ok()?;
            Some((socket, address))
        });
        Self { socket, watchdog }
    }

    /// Returns how often a sign of life is due: half of the time that the manager waits.
    pub(crate) fn heartbeat(&self) -> Option<Duration> {
        self.watchdog.filter(|_| self.socket.is_some()).map(|time| time / 2)
    }

    /// Tells something, such as `READY=1`. Lost without consequence if nobody listens.
    pub(crate) fn tell(&self, state: &str) {
        if let Some((socket, address)) = &self.socket {
            let _ = socket.send_to_addr(state.as_bytes(), address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listening_manager_hears_us() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).expect("binds");
        let supervisor = Supervisor::at(path.to_str(), Some(Duration::from_secs(10)));
        assert_eq!(supervisor.heartbeat(), Some(Duration::from_secs(5)));
        supervisor.tell("READY=1");
        let mut bytes = [0; 16];
        let len = manager.recv(&mut bytes).expect("hears");
        assert_eq!(&bytes[..len], b"READY=1");
    }

    #[test]
    fn without_a_manager_nothing_happens() {
        let alone = Supervisor::at(None, Some(Duration::from_secs(10)));
        alone.tell("READY=1");
        assert_eq!(alone.heartbeat(), None);
        Supervisor::at(Some("@dihya-test-nobody-listens"), None).tell("READY=1");
    }
}
