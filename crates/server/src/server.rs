//! The server as a whole: bound, then serving, then drained.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::app::{App, Parts};
use crate::config::{Config, TlsConfig};
use crate::error::Error;
use crate::listener::{self, Bounds, Service};
use crate::routes;
use crate::tls::{self, Certificate};

/// How often certificate files are looked at, and the use of tokens is written down.
const HOUSEKEEPING: Duration = Duration::from_secs(10);

/// A server that has its address and does not answer yet.
pub struct Server {
    listener: TcpListener,
    app: Arc<App>,
    certificate: Option<Arc<Certificate>>,
    bounds: Bounds,
    housekeeping: Duration,
}

/// What can be done to a server while it serves.
#[derive(Clone)]
pub struct Handle {
    app: Arc<App>,
    certificate: Option<Arc<Certificate>>,
}

impl Server {
    /// Binds the address of `config` and reads the certificate. Clients may connect from now on; they are answered by
    /// [`Server::serve`].
    ///
    /// # Errors
    /// When the address cannot be bound or the certificate cannot be used.
    pub async fn bind(config: Config, parts: Parts) -> Result<Self, Error> {
        let certificate = match &config.tls {
            Some(files) => Some(Arc::new(Certificate::new(tls::load(files).await?))),
            None => None,
        };
        let failed = |source| Error::Bind { listen: config.listen.clone(), source };
        let listener = TcpListener::bind(&config.listen).await.map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        let app = App::new(config, bound, parts);
        Ok(Self { listener, app, certificate, bounds: Bounds::default(), housekeeping: HOUSEKEEPING })
    }

    /// Returns the address that was bound: with port 0 in the configuration, the one that the system chose.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.app.bound
    }

    /// Returns the URL that people reach the server at.
    #[must_use]
    pub fn url(&self) -> String {
        self.app.url()
    }

    /// Returns what can be done to the server while it serves.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle { app: Arc::clone(&self.app), certificate: self.certificate.clone() }
    }

    /// Answers until `stop` resolves, then lets requests in flight end, for at most `limits::SHUTDOWN_GRACE`.
    pub async fn serve(self, stop: impl Future<Output = ()> + Send) {
        let handle = self.handle();
        let service = Service {
            router: routes::router(&self.app),
            tls: self.certificate.map(tls::acceptor),
            metrics: Arc::clone(&self.app.parts.metrics),
            bounds: self.bounds,
        };
        info!(address = %self.app.bound, tls = service.tls.is_some(), "listening");
        tokio::select! {
            () = listener::serve(self.listener, service, stop) => {}
            () = handle.keep_house(self.housekeeping) => {}
        }
        // The last uses would otherwise be forgotten.
        handle.flush().await;
        info!("stopped listening");
    }
}

impl Handle {
    /// Returns the address that was bound.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.app.bound
    }

    /// Returns a count of the changes of certificate, to be waited on; `None` for plain HTTP.
    #[must_use]
    pub fn certificates(&self) -> Option<watch::Receiver<u64>> {
        self.certificate.as_ref().map(|certificate| certificate.changes())
    }

    /// Returns the certificate that is shown now, in DER; `None` for plain HTTP.
    #[must_use]
    pub fn certificate(&self) -> Option<Vec<u8>> {
        self.certificate.as_ref().and_then(|certificate| certificate.leaf())
    }

    /// Puts another configuration in force without dropping a connection. The listener does not move.
    ///
    /// # Errors
    /// When the new configuration needs a restart or its certificate cannot be used: then the old one stays.
    pub async fn reload(&self, config: Config) -> Result<(), Error> {
        let old = self.app.config();
        if config.listen != old.listen {
            return Err(Error::Moved { bound: self.app.bound, wanted: config.listen });
        }
        match (&config.tls, &self.certificate) {
            (Some(files), Some(certificate)) => {
                certificate.show(tls::load(files).await?);
            }
            (None, None) => {}
            _ => return Err(Error::Switched),
        }
        self.app.reload(config);
        Ok(())
    }

    async fn keep_house(&self, every: Duration) {
        loop {
            tokio::time::sleep(every).await;
            self.flush().await;
            if let (Some(files), Some(certificate)) = (&self.app.config().tls, &self.certificate) {
                renew(files, certificate).await;
            }
        }
    }

    async fn flush(&self) {
        if let Err(error) = self.app.parts.tokens.flush().await {
            warn!(error = %error, "could not note when tokens were used");
        }
    }
}

/// Shows the certificate that is in the files now. While they are being replaced they may not fit: then the old one
/// stays, and the next look decides.
async fn renew(files: &TlsConfig, certificate: &Certificate) {
    match tls::load(files).await {
        Ok(shown) => {
            if certificate.show(shown) {
                info!("renewed the certificate");
            }
        }
        Err(error) => warn!(error = %error, "kept the old certificate"),
    }
}

#[cfg(test)]
mod tests;
