//! Connections to receivers: TCP, or TLS with the system's authorities or those of a file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use alert::channel::tls;
use disk::Disk;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A connection, with or without TLS.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {
    /// Returns what it goes over.
    fn tcp(&self) -> &TcpStream;
}

impl Duplex for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Duplex for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// Where to connect to, and how.
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The name that the certificate must have; none for plain TCP.
    pub(crate) tls: Option<String>,
    pub(crate) ca_file: Option<PathBuf>,
}

impl Target {
    /// Connects. Authorities are read each time: a file that was replaced counts at once.
    pub(crate) async fn open(&self, disk: &Arc<dyn Disk>, directory: &Path) -> Result<Box<dyn Duplex>, String> {
        let tcp = TcpStream::connect((self.host.as_str(), self.port));
        let tcp = tcp.await.map_err(|error| format!("could not connect: {}", error.kind()))?;
        tcp.set_nodelay(true).map_err(|error| format!("could not connect: {}", error.kind()))?;
        let Some(name) = &self.tls else { return Ok(Box::new(tcp)) };
        let (disk, path) = (Arc::clone(disk), self.ca_file.as_ref().map(|path| directory.join(path)));
        let config = tokio::task::spawn_blocking(move || tls::client(path.as_deref(), &*disk));
        let config = config.await.map_err(|_| "could not read the authorities".to_owned())?;
        let config = config.map_err(|error| error.to_string())?;
        let name = ServerName::try_from(name.clone()).map_err(|_| "cannot verify that name".to_owned())?;
        match TlsConnector::from(config).connect(name, tcp).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(match error.get_ref().and_then(|inner| inner.downcast_ref()) {
                Some(cause) => format!("could not agree on TLS: {}", tls::explain(cause)),
                None => format!("could not agree on TLS: {}", error.kind()),
            }),
        }
    }
}
