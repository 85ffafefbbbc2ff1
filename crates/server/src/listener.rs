//! Connections: accepted up to a bound, ended when they idle, drained when the server stops.
//!
//! One rule covers plain and TLS, HTTP/1.1 and HTTP/2, a client that connects and says nothing and one that dribbles:
//! a connection on which no request was complete within the head time-out is dropped, and one on which none is in
//! flight or has begun for the idle time is closed.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use model::limits;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;
use tracing::{debug, warn};

use crate::limiter::client_key;
use crate::metrics::Metrics;

/// The address that a request came from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client(pub(crate) SocketAddr);

/// The bounds of a listener; arguments, so that tests need not wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) connections_max: usize,
    pub(crate) per_client_max: usize,
    pub(crate) head_timeout: Duration,
    pub(crate) idle_max: Duration,
    pub(crate) grace: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections_max: limits::CONNECTIONS_MAX,
            per_client_max: limits::CONNECTIONS_PER_CLIENT_MAX,
            head_timeout: limits::REQUEST_HEAD_TIMEOUT,
            idle_max: limits::CONNECTION_IDLE_MAX,
            grace: limits::SHUTDOWN_GRACE,
        }
    }
}

/// Everything that a connection needs.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) router: Router,
    pub(crate) tls: Option<TlsAcceptor>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) bounds: Bounds,
}

/// Serves until `stop` resolves, then lets requests in flight end within the grace.
pub(crate) async fn serve(listener: TcpListener, service: Service, stop: impl Future<Output = ()>) {
    let slots = Arc::new(Semaphore::new(service.bounds.connections_max));
    let clients = Arc::new(Clients::default());
    let (halt, halted) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            (stream, peer, slot) = accept(&listener, &slots) => {
                let Some(place) = Clients::enter(&clients, peer.ip(), service.bounds.per_client_max) else {
                    // It is closed without a word: an answer would cost more than the connection.
                    debug!("one client has as many connections as it may");
                    continue;
                };
                connections.spawn(connection(service.clone(), stream, peer, (slot, place), halted.clone()));
            }
        }
    }
    drop(listener);
    halt.send_replace(true);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(service.bounds.grace, drained).await.is_err() {
        warn!(connections = connections.len(), "ended connections that did not drain in time");
    }
    connections.shutdown().await;
}

/// How many connections each client has. Never more entries than there are connections.
#[derive(Default)]
pub(crate) struct Clients(Mutex<HashMap<u64, usize>>);

/// A client's connection; dropping it gives the place back.
pub(crate) struct Place {
    clients: Arc<Clients>,
    key: u64,
}

impl Clients {
    pub(crate) fn enter(clients: &Arc<Self>, address: IpAddr, most: usize) -> Option<Place> {
        let key = client_key(address);
        let mut open = clients.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(key).or_insert(0);
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Place { clients: Arc::clone(clients), key })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.clients.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.key);
            }
        }
    }
}

pub(crate) async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
    // A slot comes first: clients beyond the bound wait in the kernel's queue, not in our memory.
    let slot = Arc::clone(slots)
        .acquire_owned()
        .await
        .expect("invariant: the semaphore lives as long as the loop and is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return (stream, peer, slot),
            Err(error) => {
                // No file descriptors, as a rule: turning at once would burn a core until one comes free.
                warn!(error = %error, "could not accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection(
    service: Service,
    stream: TcpStream,
    peer: SocketAddr,
    counted: (OwnedSemaphorePermit, Place),
    halted: watch::Receiver<bool>,
) {
    let _open = service.metrics.connection();
    let _ = stream.set_nodelay(true);
    match service.tls.clone() {
        None => talk(service, stream, peer, halted).await,
        Some(acceptor) => match tokio::time::timeout(service.bounds.head_timeout, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => talk(service, stream, peer, halted).await,
            Ok(Err(error)) => debug!(error = %error, "a TLS handshake failed"),
            Err(_) => debug!("a TLS handshake took too long"),
        },
    }
    drop(counted);
}

/// Requests of one connection: how many began, how many are in flight.
#[derive(Default)]
struct Activity {
    begun: AtomicU64,
    in_flight: AtomicUsize,
}

/// Ends a request's flight however its future ends.
struct Flight(Arc<Activity>);

impl Flight {
    fn begin(activity: &Arc<Activity>) -> Self {
        activity.begun.fetch_add(1, Ordering::Relaxed);
        activity.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(activity))
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn talk<S>(service: Service, stream: S, peer: SocketAddr, mut halted: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity = Arc::new(Activity::default());
    let Service { router, bounds, .. } = service;
    let handler = {
        let activity = Arc::clone(&activity);
        service_fn(move |mut request: Request<Incoming>| {
            let flight = Flight::begin(&activity);
            request.extensions_mut().insert(Client(peer));
            let answer = router.clone().oneshot(request.map(Body::new));
            async move {
                let answer = answer.await;
                drop(flight);
                answer as Result<_, Infallible>
            }
        })
    };
    // HTTP/2 runs each stream as a task of its own: the executor's tasks end with the connection that they belong to.
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head_timeout.max(bounds.idle_max))
        .max_buf_size(limits::REQUEST_HEAD_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(limits::REQUEST_HEAD_BYTES_MAX).unwrap_or(u32::MAX))
        .max_concurrent_streams(128)
        .keep_alive_interval(bounds.idle_max / 2)
        .keep_alive_timeout(bounds.head_timeout);
    let mut talk = pin!(builder.serve_connection(TokioIo::new(stream), handler));
    let mut wait = bounds.head_timeout;
    let mut begun = 0;
    let mut closing = false;
    loop {
        tokio::select! {
            ended = talk.as_mut() => {
                if let Err(error) = ended {
                    debug!(error = %error, "a connection ended early");
                }
                return;
            }
            _ = halted.wait_for(|halted| *halted), if !closing => {
                closing = true;
                wait = bounds.grace;
                talk.as_mut().graceful_shutdown();
            }
            () = tokio::time::sleep(wait) => {
                let before = begun;
                begun = activity.begun.load(Ordering::Relaxed);
                let idle = begun == before && activity.in_flight.load(Ordering::Relaxed) == 0;
                if idle && (begun == 0 || closing) {
                    return;
                }
                if idle {
                    closing = true;
                    talk.as_mut().graceful_shutdown();
                } else {
                    wait = bounds.idle_max;
                }
            }
        }
    }
}
