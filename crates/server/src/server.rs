//! The server as a whole: bound, then serving, then drained.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::app::{App, Parts};
use crate::config::{Config, TlsConfig};
use crate::error::Error;
use crate::listener::{self, Bounds, Service};
use crate::routes;
use crate::syslog;
use crate::tls::{self, Certificate};

/// How often certificate files are looked at, and the use of tokens is written down.
const HOUSEKEEPING: Duration = Duration::from_secs(10);

/// A server that has its address and does not answer yet.
pub struct Server {
    listener: TcpListener,
    app: Arc<App>,
    certificate: Option<Arc<Certificate>>,
    others: Vec<syslog::Listener>,
    bounds: Bounds,
    others_bounds: syslog::Bounds,
    housekeeping: Duration,
}

/// What can be done to a server while it serves.
#[derive(Clone)]
pub struct Handle {
    app: Arc<App>,
    certificate: Option<Arc<Certificate>>,
    /// The certificates of other listeners, with the files that they come from.
    others: Arc<[(TlsConfig, Arc<Certificate>)]>,
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
        let mut others = Vec::new();
        for other in &config.listeners {
            others.push(syslog::Listener::bind(other).await?);
        }
        let app = App::new(config, bound, parts);
        let (bounds, others_bounds) = (Bounds::default(), syslog::Bounds::default());
        Ok(Self { listener, app, certificate, others, bounds, others_bounds, housekeeping: HOUSEKEEPING })
    }

    /// Returns the address that was bound: with port 0 in the configuration, the one that the system chose.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.app.bound
    }

    /// Returns the addresses of the other listeners, in the order of the configuration.
    #[must_use]
    pub fn others(&self) -> Vec<SocketAddr> {
        self.others.iter().map(syslog::Listener::address).collect()
    }

    /// Returns the URL that people reach the server at.
    #[must_use]
    pub fn url(&self) -> String {
        self.app.url()
    }

    /// Returns what can be done to the server while it serves.
    #[must_use]
    pub fn handle(&self) -> Handle {
        let others = self.others.iter().filter_map(|other| other.certificate.clone()).collect();
        Handle { app: Arc::clone(&self.app), certificate: self.certificate.clone(), others }
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
        let (halt, halted) = watch::channel(false);
        let means = syslog::Means::new(&self.app.parts, self.others_bounds);
        let mut others = JoinSet::new();
        for other in self.others {
            others.spawn(other.serve(means.clone(), halted.clone()));
        }
        let stop = async {
            stop.await;
            halt.send_replace(true);
        };
        tokio::select! {
            () = listener::serve(self.listener, service, stop) => {}
            () = handle.keep_house(self.housekeeping) => {}
        }
        // They halted with the first of them, and each has a bound of its own.
        while others.join_next().await.is_some() {}
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
        if config.listeners != old.listeners {
            return Err(Error::Listeners);
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
            for (files, certificate) in self.others.iter() {
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
