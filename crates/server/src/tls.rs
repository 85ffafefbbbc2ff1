//! The certificate that the server shows, swapped while connections go on.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::ring;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ConfigBuilder, InconsistentKeys, RootCertStore, ServerConfig, WantsVerifier};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::config::TlsConfig;
use crate::error::Error;

/// A certificate with its key, and a hash of the files that they came from.
pub(crate) struct Shown {
    certified: Arc<CertifiedKey>,
    digest: [u8; 32],
}

/// Gives every new handshake the certificate that is in force.
pub(crate) struct Certificate {
    shown: RwLock<Shown>,
    changes: watch::Sender<u64>,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Certificate")
    }
}

impl Certificate {
    pub(crate) fn new(shown: Shown) -> Self {
        Self { shown: RwLock::new(shown), changes: watch::Sender::new(0) }
    }

    /// Returns a count of the changes of certificate, to be waited on.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Puts a certificate in force and tells whether it is another one.
    pub(crate) fn show(&self, shown: Shown) -> bool {
        let changed = {
            let mut current = self.shown.write().unwrap_or_else(PoisonError::into_inner);
            let changed = current.digest != shown.digest;
            *current = shown;
            changed
        };
        if changed {
            self.changes.send_modify(|count| *count += 1);
        }
        changed
    }

    /// Returns the end entity's certificate in force, in DER.
    pub(crate) fn leaf(&self) -> Option<Vec<u8>> {
        let shown = self.shown.read().unwrap_or_else(PoisonError::into_inner);
        shown.certified.cert.first().map(|der| der.to_vec())
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let shown = self.shown.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&shown.certified))
    }
}

/// Reads the files and checks that they belong together.
pub(crate) async fn load(config: &TlsConfig) -> Result<Shown, Error> {
    let chain_pem = read(&config.cert_file).await?;
    let key_pem = read(&config.key_file).await?;
    let cannot = |path: &Path, reason: &str| Error::Certificate { path: path.to_owned(), reason: reason.to_owned() };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&chain_pem)
        .collect::<Result<_, _>>()
        .map_err(|_| cannot(&config.cert_file, "expected certificates in PEM"))?;
    if chain.is_empty() {
        return Err(cannot(&config.cert_file, "expected at least one certificate in PEM"));
    }
    let key = PrivateKeyDer::from_pem_slice(&key_pem)
        .map_err(|_| cannot(&config.key_file, "expected a private key in PEM, without a passphrase"))?;
    let signer = ring::sign::any_supported_type(&key)
        .map_err(|_| cannot(&config.key_file, "expected an RSA, ECDSA or Ed25519 key"))?;
    let certified = CertifiedKey::new(chain, signer);
    match certified.keys_match() {
        // Some keys do not say their public half; then the first handshake decides.
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
        Err(rustls::Error::InconsistentKeys(_)) => {
            return Err(cannot(&config.key_file, "the key does not belong to the certificate"));
        }
        Err(_) => return Err(cannot(&config.cert_file, "expected an X.509 certificate first")),
    }
    let digest = Sha256::new().chain_update(&chain_pem).chain_update([0]).chain_update(&key_pem).finalize().into();
    Ok(Shown { certified: Arc::new(certified), digest })
}

async fn read(path: &Path) -> Result<zeroize::Zeroizing<Vec<u8>>, Error> {
    match tokio::fs::read(path).await {
        Ok(bytes) => Ok(bytes.into()),
        Err(source) => Err(Error::CertificateFile { path: path.to_owned(), source }),
    }
}

fn builder() -> ConfigBuilder<ServerConfig, WantsVerifier> {
    ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("invariant: ring supports the default protocol versions")
}

/// Makes the TLS side of a listener for syslog (RFC 5425). With authorities, only senders get in that show a certificate of
/// one of them.
pub(crate) async fn syslog_acceptor(
    certificate: Arc<Certificate>,
    client_ca_file: Option<&Path>,
) -> Result<tokio_rustls::TlsAcceptor, Error> {
    let builder = match client_ca_file {
        None => builder().with_no_client_auth(),
        Some(path) => {
            let cannot = |reason: &str| Error::Certificate { path: path.to_owned(), reason: reason.to_owned() };
            const EXPECTED: &str = "expected certificates of authorities in PEM";
            let pem = read(path).await?;
            let mut roots = RootCertStore::empty();
            for root in CertificateDer::pem_slice_iter(&pem) {
                root.ok().and_then(|root| roots.add(root).ok()).ok_or_else(|| cannot(EXPECTED))?;
            }
            let provider = Arc::new(ring::default_provider());
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder().with_client_cert_verifier(verifier.map_err(|_| cannot(EXPECTED))?)
        }
    };
    Ok(tokio_rustls::TlsAcceptor::from(Arc::new(builder.with_cert_resolver(certificate))))
}

/// Makes the TLS side of the listener: TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1.
pub(crate) fn acceptor(certificate: Arc<Certificate>) -> tokio_rustls::TlsAcceptor {
    let mut config = builder().with_no_client_auth().with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    tokio_rustls::TlsAcceptor::from(Arc::new(config))
}
