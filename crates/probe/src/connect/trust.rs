//! Whom we believe: TLS settings shared by their content, and a verdict on every chain that says what is wrong.
//!
//! Verification runs beside the handshake instead of ending it: the chain is captured and judged, the handshake goes
//! on, and the connector refuses afterwards. So a probe can report an expired certificate with all its particulars.
//! Verifying a chain costs more than the rest of the handshake together, so a chain that verified once is remembered
//! by the hash of its bytes and the name, until the first date in it passes; the peer's possession of the key is
//! proved anew each time.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use disk::Disk;
use model::limits::PROBE_TRUST_AGE_MAX;
use model::{Clock, Timestamp};
use rustls::client::Resumption;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::time_provider::TimeProvider;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_native_certs::CertificateResult;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_parser::prelude::{FromDer as _, GeneralName, ParsedExtension, X509Certificate};
use x509_parser::public_key::PublicKey;

use super::{Error, MinTls, Phase, TlsOptions};
use crate::blocking::{Threads, Unseen};
use crate::fact::Fact;
use crate::kind::Fault;

/// Names of a certificate that a reason or a fact shows.
const NAMES_SHOWN_MAX: usize = 20;

/// What is wrong with a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsProblem {
    /// A certificate's time is over.
    Expired,
    /// A certificate's time has not begun.
    NotYetValid,
    /// The chain does not end at an authority that we trust.
    UnknownIssuer,
    /// The certificate vouches for itself.
    SelfSigned,
    /// The certificate is not for this name.
    WrongHost,
    /// The authority took it back.
    Revoked,
    /// A signature in the chain is wrong.
    BadSignature,
    /// It is not a certificate for servers.
    WrongPurpose,
    /// It cannot be read.
    Unreadable,
    /// Something else.
    Other(String),
}

impl TlsProblem {
    /// Returns the word for conditions: `expired`, `unknown_issuer` ...
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::UnknownIssuer => "unknown_issuer",
            Self::SelfSigned => "self_signed",
            Self::WrongHost => "wrong_host",
            Self::Revoked => "revoked",
            Self::BadSignature => "bad_signature",
            Self::WrongPurpose => "wrong_purpose",
            Self::Unreadable => "unreadable",
            Self::Other(_) => "other",
        }
    }

    fn of(error: &rustls::Error, chain: &Chain) -> Self {
        use CertificateError as C;
        let rustls::Error::InvalidCertificate(error) = error else {
            return Self::Other("it does not verify".to_owned());
        };
        let alone = matches!(chain.certs.as_slice(), [only] if only.issuer == only.subject);
        match error {
            C::Expired | C::ExpiredContext { .. } => Self::Expired,
            C::NotValidYet | C::NotValidYetContext { .. } => Self::NotYetValid,
            C::NotValidForName | C::NotValidForNameContext { .. } => Self::WrongHost,
            C::Revoked => Self::Revoked,
            _ if alone => Self::SelfSigned,
            C::UnknownIssuer => Self::UnknownIssuer,
            C::BadSignature
            | C::UnsupportedSignatureAlgorithmContext { .. }
            | C::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => Self::BadSignature,
            C::InvalidPurpose | C::InvalidPurposeContext { .. } => Self::WrongPurpose,
            C::BadEncoding => Self::Unreadable,
            C::UnhandledCriticalExtension => Self::Other("it has a critical extension that is not known".to_owned()),
            _ => Self::Other("its chain does not verify".to_owned()),
        }
    }
}

impl fmt::Display for TlsProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "the certificate has expired",
            Self::NotYetValid => "the certificate is not yet valid",
            Self::UnknownIssuer => "the certificate's issuer is not trusted",
            Self::SelfSigned => "the certificate is self-signed",
            Self::WrongHost => "the certificate is not for this host",
            Self::Revoked => "the certificate is revoked",
            Self::BadSignature => "a signature in the certificate chain is wrong or of a refused kind",
            Self::WrongPurpose => "the certificate is not for servers",
            Self::Unreadable => "the certificate cannot be read",
            Self::Other(what) => return write!(f, "the certificate is refused: {what}"),
        })
    }
}

/// One certificate as the peer sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertSeen {
    /// Distinguished name of the holder.
    pub subject: String,
    /// Distinguished name of the issuer.
    pub issuer: String,
    /// Serial number, hexadecimal.
    pub serial: String,
    /// Start of validity.
    pub not_before: Timestamp,
    /// End of validity.
    pub not_after: Timestamp,
    /// `rsa`, `ec`, `ed25519` ...
    pub key_type: &'static str,
    /// Size of the key in bits; 0 where it is not known.
    pub key_bits: usize,
    /// DNS names and addresses that it is for.
    pub names: Vec<String>,
    /// SHA-256 of its DER, hexadecimal.
    pub sha256: String,
}

impl CertSeen {
    /// Returns the whole days that are left at `now`: negative once it has expired.
    #[must_use]
    pub fn days_left(&self, now: Timestamp) -> i64 {
        (self.not_after.as_second() - now.as_second()).div_euclid(86_400)
    }

    fn read(der: &[u8]) -> Option<Self> {
        let (_, cert) = X509Certificate::from_der(der).ok()?;
        let time = |at: x509_parser::time::ASN1Time| Timestamp::from_second(at.timestamp()).ok();
        let (key_type, key_bits) = key_of(&cert);
        Some(Self {
            subject: cert.subject().to_string(),
            issuer: cert.issuer().to_string(),
            serial: hex(cert.raw_serial()),
            not_before: time(cert.validity().not_before)?,
            not_after: time(cert.validity().not_after)?,
            key_type,
            key_bits,
            names: names_of(&cert),
            sha256: hex(&Sha256::digest(der)),
        })
    }

    fn fact(&self, now: Timestamp) -> Fact {
        Fact::map([
            ("subject", Fact::from(self.subject.as_str())),
            ("issuer", self.issuer.as_str().into()),
            ("serial", self.serial.as_str().into()),
            ("days_left", self.days_left(now).into()),
            ("key_type", self.key_type.into()),
            ("key_bits", self.key_bits.into()),
            ("names", self.names.clone().into()),
            ("sha256", self.sha256.as_str().into()),
        ])
    }
}

fn key_of(cert: &X509Certificate<'_>) -> (&'static str, usize) {
    let spki = cert.public_key();
    match spki.algorithm.algorithm.to_id_string().as_str() {
        "1.3.101.112" => ("ed25519", 256),
        "1.3.101.113" => ("ed448", 456),
        _ => match spki.parsed() {
            Ok(PublicKey::RSA(key)) => ("rsa", key.key_size()),
            Ok(PublicKey::EC(point)) => ("ec", point.key_size()),
            Ok(PublicKey::DSA(_)) => ("dsa", 0),
            _ => ("unknown", 0),
        },
    }
}

fn names_of(cert: &X509Certificate<'_>) -> Vec<String> {
    let mut names = Vec::new();
    for extension in cert.extensions() {
        let ParsedExtension::SubjectAlternativeName(alternative) = extension.parsed_extension() else { continue };
        for name in alternative.general_names.iter().take(NAMES_SHOWN_MAX) {
            match name {
                GeneralName::DNSName(name) => names.push((*name).to_owned()),
                GeneralName::IPAddress(bytes) => names.extend(ip_text(bytes)),
                _ => {}
            }
        }
    }
    names
}

fn ip_text(bytes: &[u8]) -> Option<String> {
    let ip = match bytes.len() {
        4 => std::net::IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?),
        _ => std::net::IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
    };
    Some(ip.to_string())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The certificates that the peer sent, its own first.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Chain {
    /// Those that could be read.
    pub certs: Vec<CertSeen>,
}

impl Chain {
    /// Returns the whole days until the first of them expires.
    #[must_use]
    pub fn days_left(&self, now: Timestamp) -> Option<i64> {
        self.certs.iter().map(|cert| cert.days_left(now)).min()
    }
}

/// What a handshake showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSeen {
    /// `TLSv1.3`, `TLSv1.2`.
    pub version: &'static str,
    /// The cipher suite, as IANA calls it.
    pub cipher: String,
    /// The application protocol agreed upon.
    pub alpn: Option<String>,
    /// The chain.
    pub chain: Arc<Chain>,
    /// What is wrong with it.
    pub problem: Option<TlsProblem>,
}

impl TlsSeen {
    /// Returns the fact `tls`.
    #[must_use]
    pub fn fact(&self, now: Timestamp) -> Fact {
        let mut entries = vec![
            ("version", Fact::from(self.version)),
            ("cipher", self.cipher.as_str().into()),
            ("alpn", self.alpn.clone().into()),
            ("problem", self.problem.as_ref().map_or("", TlsProblem::code).into()),
            ("chain", Fact::List(self.chain.certs.iter().map(|cert| cert.fact(now)).collect())),
        ];
        if let (Some(days), Some(leaf)) = (self.chain.days_left(now), self.chain.certs.first()) {
            entries.push(("days_left", days.into()));
            entries.push(("subject", leaf.subject.as_str().into()));
            entries.push(("issuer", leaf.issuer.as_str().into()));
            entries.push(("names", leaf.names.clone().into()));
            entries.push(("key_type", leaf.key_type.into()));
            entries.push(("key_bits", leaf.key_bits.into()));
            entries.push(("sha256", leaf.sha256.as_str().into()));
        }
        Fact::map(entries)
    }
}

/// TLS settings by their content, so that ten thousand checks share one. Their files are read on threads for what blocks:
/// one on a mount that hangs costs a thread and the checks that name it, and stops no worker.
pub(super) struct TrustStore {
    clock: Arc<dyn Clock>,
    threads: Threads,
    files: Arc<Files>,
    settings: Mutex<HashMap<SettingsKey, Arc<Slot>>>,
}

/// What reads files and makes settings of them. It blocks.
struct Files {
    clock: Arc<dyn Clock>,
    disk: Arc<dyn Disk>,
    provider: Arc<CryptoProvider>,
    system_roots: Mutex<Option<Kept<RootCertStore>>>,
}

/// Settings of one content.
struct Slot {
    /// What their look is called among those that block.
    name: Arc<str>,
    kept: Mutex<Option<Kept<Settings>>>,
    /// Whose turn it is to read: the others wait for what it finds.
    turn: tokio::sync::Mutex<()>,
}

impl Slot {
    fn fresh(&self, clock: &dyn Clock) -> Option<Arc<Settings>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).as_ref()?.fresh(clock)
    }
}

/// What was made of files, and when by the monotonic clock: files are renewed while we run.
struct Kept<T> {
    made: Arc<T>,
    at: Duration,
}

impl<T> Kept<T> {
    fn fresh(&self, clock: &dyn Clock) -> Option<Arc<T>> {
        (clock.monotonic().saturating_sub(self.at) < PROBE_TRUST_AGE_MAX).then(|| Arc::clone(&self.made))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct SettingsKey {
    ca_file: Option<PathBuf>,
    min: MinTls,
    client: Option<(PathBuf, PathBuf)>,
    alpn: Vec<String>,
}

struct Settings {
    template: ClientConfig,
    judge: Arc<Judge>,
}

impl TrustStore {
    pub(super) fn new(clock: Arc<dyn Clock>, disk: Arc<dyn Disk>) -> Self {
        let files = Files {
            clock: Arc::clone(&clock),
            disk,
            provider: Arc::new(rustls::crypto::ring::default_provider()),
            system_roots: Mutex::default(),
        };
        Self { clock, threads: Threads::default(), files: Arc::new(files), settings: Mutex::default() }
    }

    pub(super) fn forget(&self) {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner).clear();
        *self.files.system_roots.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Shakes hands. A chain that does not verify is not an error here: it is in what is returned.
    pub(super) async fn shake(
        &self,
        tcp: TcpStream,
        host: &str,
        options: &TlsOptions,
        deadline: Instant,
    ) -> Result<(TlsStream<TcpStream>, TlsSeen), Error> {
        let settings = self.settings(options, deadline).await?;
        let name = options.server_name.as_deref().unwrap_or(host).to_owned();
        let name = ServerName::try_from(name).map_err(|_| {
            Error::ours(Phase::Tls, Fault::Setup, "the server name is neither a DNS name nor an address")
        })?;
        let capture = Arc::new(Capture { judge: Arc::clone(&settings.judge), verdict: OnceLock::new() });
        let mut config = settings.template.clone();
        config.dangerous().set_certificate_verifier(Arc::clone(&capture) as Arc<dyn ServerCertVerifier>);
        let connecting = TlsConnector::from(Arc::new(config)).connect(name, tcp);
        let tcp = match timeout_at(deadline, connecting).await {
            Ok(Ok(tcp)) => tcp,
            Ok(Err(error)) => return Err(judge_failure(&error, capture.verdict.get())),
            Err(_) => return Err(Error::timed_out(Phase::Tls)),
        };
        let (_, connection) = tcp.get_ref();
        let verdict = capture.verdict.get().cloned().unwrap_or_default();
        let version = match connection.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
            _ => "TLSv1.2",
        };
        let cipher = connection.negotiated_cipher_suite();
        let seen = TlsSeen {
            version,
            cipher: cipher.and_then(|suite| suite.suite().as_str()).unwrap_or_default().to_owned(),
            alpn: connection.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()),
            chain: verdict.chain,
            problem: verdict.problem,
        };
        Ok((tcp, seen))
    }

    fn slot(&self, options: &TlsOptions) -> (SettingsKey, Arc<Slot>) {
        let key = SettingsKey {
            ca_file: options.ca_file.clone(),
            min: options.min_tls_version,
            client: options.client_cert_file.clone().zip(options.client_key_file.clone()),
            alpn: options.alpn.clone(),
        };
        let mut settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = settings.get(&key) {
            return (key, Arc::clone(slot));
        }
        let name = Arc::from(format!("{key:?}"));
        let slot = Arc::new(Slot { name, kept: Mutex::default(), turn: tokio::sync::Mutex::default() });
        settings.insert(key.clone(), Arc::clone(&slot));
        (key, slot)
    }

    async fn settings(&self, options: &TlsOptions, deadline: Instant) -> Result<Arc<Settings>, Error> {
        let (key, slot) = self.slot(options);
        if let Some(made) = slot.fresh(&*self.clock) {
            return Ok(made);
        }
        let Ok(_turn) = timeout_at(deadline, slot.turn.lock()).await else { return Err(unread(Unseen::Late)) };
        if let Some(made) = slot.fresh(&*self.clock) {
            return Ok(made);
        }
        let files = Arc::clone(&self.files);
        let made = self.threads.look(&slot.name, deadline, move || files.make(&key)).await.map_err(unread)?;
        let made = Arc::new(made.map_err(|reason| Error::ours(Phase::Tls, Fault::Setup, reason))?);
        let kept = Kept { made: Arc::clone(&made), at: self.clock.monotonic() };
        *slot.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        Ok(made)
    }
}

/// Says why no settings could be made of files.
fn unread(unseen: Unseen) -> Error {
    let (fault, reason) = match unseen {
        Unseen::Late => (Fault::Resources, "reading the files of TLS takes longer than the check's timeout"),
        Unseen::Stuck => (Fault::Resources, "the look before at the files of TLS still hangs"),
        Unseen::Busy => (Fault::Resources, "too many looks at the files of TLS hang"),
        Unseen::Died => (Fault::Internal, "reading the files of TLS failed by a fault of ours"),
    };
    Error::ours(Phase::Tls, fault, reason)
}

impl Files {
    /// The authorities that the system trusts, shared by all settings that trust them. Nothing is locked while they are
    /// read: whoever forgets them must not wait for a disk.
    fn system_roots(&self) -> Result<Arc<RootCertStore>, String> {
        let kept = || self.system_roots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = kept().as_ref().and_then(|kept| kept.fresh(&*self.clock)) {
            return Ok(made);
        }
        let made = Arc::new(roots_of(rustls_native_certs::load_native_certs())?);
        *kept() = Some(Kept { made: Arc::clone(&made), at: self.clock.monotonic() });
        Ok(made)
    }

    fn make(&self, key: &SettingsKey) -> Result<Settings, String> {
        let roots = match &key.ca_file {
            Some(path) => Arc::new(self.roots_in(path)?),
            None => self.system_roots()?,
        };
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&self.provider))
            .build()
            .map_err(|_| "the certificate authorities cannot be used")?;
        let versions: &[&rustls::SupportedProtocolVersion] = match key.min {
            MinTls::V1_2 => &[&rustls::version::TLS13, &rustls::version::TLS12],
            MinTls::V1_3 => &[&rustls::version::TLS13],
        };
        let judge = Arc::new(Judge { verifier, verified: Mutex::default() });
        let capture = Arc::new(Capture { judge: Arc::clone(&judge), verdict: OnceLock::new() });
        let time = Arc::new(ClockTime(Arc::clone(&self.clock)));
        let builder = ClientConfig::builder_with_details(Arc::clone(&self.provider), time)
            .with_protocol_versions(versions)
            .map_err(|_| "no version of TLS is left")?
            .dangerous()
            .with_custom_certificate_verifier(capture);
        let mut template = match &key.client {
            None => builder.with_no_client_auth(),
            Some((cert, private)) => {
                let certs = self.certs_in(cert, "client_cert_file")?;
                let private = disk::read(&*self.disk, private).map_err(|_| "client_key_file cannot be read")?;
                let private = PrivateKeyDer::from_pem_slice(&private).map_err(|_| "client_key_file holds no key")?;
                builder.with_client_auth_cert(certs, private).map_err(|_| "client certificate and key do not fit")?
            }
        };
        // A probe proves the whole handshake each time, and a cache of tickets would cost memory per target.
        template.resumption = Resumption::disabled();
        template.alpn_protocols = key.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(Settings { template, judge })
    }

    fn certs_in(&self, path: &Path, key: &str) -> Result<Vec<CertificateDer<'static>>, String> {
        let pem = disk::read(&*self.disk, path).map_err(|_| format!("{key} cannot be read"))?;
        let certs: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        match certs {
            Ok(certs) if !certs.is_empty() => Ok(certs),
            _ => Err(format!("{key} holds no certificate in PEM")),
        }
    }

    fn roots_in(&self, path: &Path) -> Result<RootCertStore, String> {
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(self.certs_in(path, "ca_file")?);
        if added == 0 { Err("ca_file holds no usable authority".to_owned()) } else { Ok(roots) }
    }
}

/// Takes what could be loaded of the system's authorities. None at all is an error, and is tried again: it may be that we
/// were out of descriptors.
fn roots_of(loaded: CertificateResult) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let failed = loaded.errors.len();
    let (added, refused) = roots.add_parsable_certificates(loaded.certs);
    if failed > 0 || refused > 0 {
        tracing::warn!(added, failed, refused, "not all of the system's certificate authorities could be loaded");
    }
    match (added, failed) {
        (1.., _) => Ok(roots),
        (0, 1..) => Err("the system's certificate authorities cannot be read".to_owned()),
        (0, 0) => {
            Err("this system has no trusted certificate authorities (install ca-certificates, or set ca_file)"
                .to_owned())
        }
    }
}

/// Tells rustls the time of our clock.
struct ClockTime(Arc<dyn Clock>);

impl fmt::Debug for ClockTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClockTime")
    }
}

impl TimeProvider for ClockTime {
    fn current_time(&self) -> Option<UnixTime> {
        let since_epoch = std::time::Duration::try_from(self.0.now().as_duration()).ok()?;
        Some(UnixTime::since_unix_epoch(since_epoch))
    }
}

fn judge_failure(error: &std::io::Error, verdict: Option<&Verdict>) -> Error {
    let Some(inner) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return Error::from_io(Phase::Tls, error);
    };
    let reason = match inner {
        rustls::Error::InvalidMessage(_) => "the peer does not speak TLS".to_owned(),
        rustls::Error::AlertReceived(alert) => {
            format!("the peer sent the alert {}", alert.as_str().unwrap_or("unknown"))
        }
        rustls::Error::PeerIncompatible(_) => "the peer offers no version or cipher that we accept".to_owned(),
        rustls::Error::NoCertificatesPresented => "the peer sent no certificate".to_owned(),
        rustls::Error::InvalidCertificate(_) => {
            verdict.and_then(|verdict| verdict.problem.as_ref()).unwrap_or(&TlsProblem::BadSignature).to_string()
        }
        _ => "the peer violates the protocol".to_owned(),
    };
    Error::target(Phase::Tls, reason)
}

/// A chain and what is wrong with it.
#[derive(Clone, Debug, Default)]
struct Verdict {
    chain: Arc<Chain>,
    problem: Option<TlsProblem>,
}

/// A chain that verified, and while.
#[derive(Debug)]
struct Verified {
    chain: Arc<Chain>,
    from: u64,
    until: u64,
}

/// Verifies chains against one set of authorities and remembers those that did.
#[derive(Debug)]
struct Judge {
    verifier: Arc<WebPkiServerVerifier>,
    verified: Mutex<HashMap<[u8; 32], Verified>>,
}

impl Judge {
    fn judge(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Verdict {
        let key = chain_key(end_entity, intermediates, name);
        {
            let verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(found) = verified.get(&key).filter(|found| (found.from..found.until).contains(&now.as_secs())) {
                return Verdict { chain: Arc::clone(&found.chain), problem: None };
            }
        }
        let ders = std::iter::once(end_entity).chain(intermediates);
        let certs: Vec<_> = ders.filter_map(|der| CertSeen::read(der)).collect();
        let unread = certs.len() <= intermediates.len();
        let chain = Arc::new(Chain { certs });
        match self.verifier.verify_server_cert(end_entity, intermediates, name, ocsp, now) {
            Ok(_) if unread => Verdict { chain, problem: None },
            Ok(_) => {
                self.remember(key, &chain);
                Verdict { chain, problem: None }
            }
            Err(error) => {
                let problem = Some(TlsProblem::of(&error, &chain));
                Verdict { chain, problem }
            }
        }
    }

    fn remember(&self, key: [u8; 32], chain: &Arc<Chain>) {
        let seconds = |at: Timestamp| u64::try_from(at.as_second()).unwrap_or(0);
        let from = chain.certs.iter().map(|cert| seconds(cert.not_before)).max().unwrap_or(u64::MAX);
        let until = chain.certs.iter().map(|cert| seconds(cert.not_after)).min().unwrap_or(0);
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if verified.len() >= model::limits::PROBE_CHAINS_MAX {
            verified.clear();
        }
        verified.insert(key, Verified { chain: Arc::clone(chain), from, until });
    }
}

fn chain_key(end_entity: &[u8], intermediates: &[CertificateDer<'_>], name: &ServerName<'_>) -> [u8; 32] {
    let mut hash = Sha256::new();
    for der in std::iter::once(end_entity).chain(intermediates.iter().map(AsRef::as_ref)) {
        hash.update((der.len() as u64).to_le_bytes());
        hash.update(der);
    }
    hash.update(name.to_str().as_bytes());
    hash.finalize().into()
}

/// The verifier of one connection: it never ends the handshake, and keeps the verdict.
#[derive(Debug)]
struct Capture {
    judge: Arc<Judge>,
    verdict: OnceLock<Verdict>,
}

impl ServerCertVerifier for Capture {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verdict = self.judge.judge(end_entity, intermediates, server_name, ocsp_response, now);
        let _ = self.verdict.set(verdict);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.judge.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.judge.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.judge.verifier.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};

    use super::*;

    #[test]
    fn authorities_that_cannot_be_loaded_are_not_kept() {
        let none = |failed: bool| {
            let mut loaded = CertificateResult::default();
            if failed {
                let kind = rustls_native_certs::ErrorKind::Io {
                    inner: std::io::ErrorKind::PermissionDenied.into(),
                    path: PathBuf::from("/etc/ssl"),
                };
                loaded.errors.push(rustls_native_certs::Error { context: "a test wants it", kind });
            }
            roots_of(loaded).expect_err("none")
        };
        assert!(none(true).ends_with("cannot be read") && none(false).contains("install ca-certificates"));
    }

    /// A client certificate that was renewed was presented in its old form until the next reload.
    #[tokio::test]
    async fn files_are_read_again_after_a_while() {
        let clock = Arc::new(model::StepClock::new(Timestamp::UNIX_EPOCH));
        let store = TrustStore::new(Arc::clone(&clock) as Arc<dyn Clock>, Arc::new(disk::OsDisk));
        let ca = crate::testing::Authority::new();
        let options = TlsOptions { ca_file: Some(ca.ca_file()), ..TlsOptions::default() };
        let later = Instant::now() + Duration::from_secs(60);
        let made = async || store.settings(&options, later).await.unwrap_or_else(|error| panic!("{}", error.reason));
        let first = made().await;
        assert!(Arc::ptr_eq(&first, &made().await));
        clock.advance(PROBE_TRUST_AGE_MAX);
        assert!(!Arc::ptr_eq(&first, &made().await));
        let system = TlsOptions::default();
        let of_system = async || store.settings(&system, later).await.is_ok();
        assert_eq!(of_system().await, of_system().await);
        store.forget();
        assert!(store.files.system_roots.lock().expect("no panic").is_none());
    }

    /// The file of an authority on a mount that hangs stopped the worker, and with it all checks that it ran.
    #[tokio::test]
    async fn files_that_hang_stop_no_worker() {
        let dir = tempfile::tempdir().expect("a directory");
        let hung = dir.path().join("ca.pem");
        // Whoever opens it hangs until somebody writes, as on a dead mount.
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, &hung, mode).expect("makes");
        let ca = crate::testing::Authority::new();
        let store = TrustStore::new(Arc::new(model::StepClock::new(Timestamp::UNIX_EPOCH)), Arc::new(disk::OsDisk));
        let of = |ca_file: &Path| TlsOptions { ca_file: Some(ca_file.to_owned()), ..TlsOptions::default() };
        let within = |ms| Instant::now() + Duration::from_millis(ms);
        let options = of(&hung);
        let (first, second) = tokio::join!(store.settings(&options, within(50)), store.settings(&options, within(50)));
        for error in [first.err().expect("hangs"), second.err().expect("hangs")] {
            assert_eq!((error.phase, error.fault), (Phase::Tls, Some(Fault::Resources)), "{}", error.reason);
        }
        // It has one thread, however often it is asked for, and other files are read meanwhile.
        let error = store.settings(&options, within(60_000)).await.err().expect("still hangs");
        assert_eq!(error.reason, "the look before at the files of TLS still hangs");
        assert!(store.settings(&of(&ca.ca_file()), within(60_000)).await.is_ok());
    }

    #[test]
    fn each_refusal_of_a_chain_has_a_word_and_a_sentence() {
        use CertificateError as C;
        let chain = Chain::default();
        let of = |error: C| TlsProblem::of(&rustls::Error::InvalidCertificate(error), &chain);
        for (error, code, says) in [
            (C::Expired, "expired", "has expired"),
            (C::NotValidYet, "not_yet_valid", "not yet valid"),
            (C::NotValidForName, "wrong_host", "not for this host"),
            (C::Revoked, "revoked", "is revoked"),
            (C::UnknownIssuer, "unknown_issuer", "not trusted"),
            (C::BadSignature, "bad_signature", "is wrong"),
            (C::InvalidPurpose, "wrong_purpose", "not for servers"),
            (C::BadEncoding, "unreadable", "cannot be read"),
            (C::UnhandledCriticalExtension, "other", "critical extension"),
            (C::ApplicationVerificationFailure, "other", "does not verify"),
        ] {
            let problem = of(error);
            assert_eq!(problem.code(), code);
            assert!(problem.to_string().contains(says), "{problem}");
        }
        assert_eq!(TlsProblem::of(&rustls::Error::DecryptError, &chain).code(), "other");
        assert_eq!(TlsProblem::SelfSigned.to_string(), "the certificate is self-signed");
        assert_eq!(TlsProblem::SelfSigned.code(), "self_signed");
    }

    #[test]
    fn each_failure_of_a_handshake_is_the_peers() {
        let failed = |error: rustls::Error| judge_failure(&std::io::Error::other(error), None).reason;
        for (error, reason) in [
            (rustls::Error::NoCertificatesPresented, "the peer sent no certificate"),
            (rustls::Error::DecryptError, "the peer violates the protocol"),
            (
                rustls::Error::PeerIncompatible(rustls::PeerIncompatible::NoCipherSuitesInCommon),
                "the peer offers no version or cipher that we accept",
            ),
            (
                rustls::Error::InvalidCertificate(CertificateError::BadSignature),
                "a signature in the certificate chain is wrong or of a refused kind",
            ),
        ] {
            assert_eq!(failed(error), reason);
        }
    }

    #[test]
    fn keys_and_names_of_a_certificate_are_read() {
        for (algorithm, expected) in [(&PKCS_ED25519, ("ed25519", 256)), (&PKCS_ECDSA_P384_SHA384, ("ec", 384))] {
            let key = KeyPair::generate_for(algorithm).expect("a key");
            let names = vec!["a.example".to_owned(), "::1".to_owned()];
            let cert = CertificateParams::new(names.clone()).expect("names").self_signed(&key).expect("signs");
            let seen = CertSeen::read(cert.der()).expect("readable");
            assert_eq!((seen.key_type, seen.key_bits), expected);
            assert_eq!(seen.names, names);
        }
        assert_eq!(CertSeen::read(b"nonsense"), None);
        assert_eq!(ip_text(&[1, 2, 3]), None);
    }
}
