//! How the commands of this machine reach the server that runs on a data directory: it writes down where it listens and
//! which certificate it shows. With TLS the certificate names the host that people know, hardly ever a loopback address,
//! so a local command trusts the very certificate that was written down, and no other.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use disk::Disk;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{CertificateError, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::config::hex;

/// The file below the data directory.
const FILE: &str = "reach.json";

/// Where a server is, for the commands of its machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reach {
    /// Scheme and address.
    pub(crate) url: String,
    /// SHA-256 of the certificate that it shows, hexadecimal; absent for plain HTTP.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) certificate_sha256: Option<String>,
}

impl Reach {
    /// Makes the note of a server that is bound to `bound` and shows this certificate.
    pub(crate) fn new(bound: SocketAddr, certificate: Option<&[u8]>) -> Self {
        let ip = match bound.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        let scheme = if certificate.is_some() { "https" } else { "http" };
        let certificate_sha256 = certificate.map(|der| hex(&Sha256::digest(der)));
        Self { url: format!("{scheme}://{}", SocketAddr::new(ip, bound.port())), certificate_sha256 }
    }

    /// Writes the note. Readable by the owner alone, as everything beside it.
    pub(crate) fn write(&self, disk: &dyn Disk, data_dir: &Path) -> anyhow::Result<()> {
        disk::write_atomic(disk, &data_dir.join(FILE), &serde_json::to_vec(self)?)?;
        Ok(())
    }

    /// Takes the note away when the server stops. What a crash leaves behind leads to an address where nobody answers.
    pub(crate) fn remove(disk: &dyn Disk, data_dir: &Path) {
        let _ = disk.remove(&data_dir.join(FILE));
    }

    /// Reads the note of the server that runs, or last ran, on a data directory.
    pub(crate) fn read(data_dir: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(data_dir.join(FILE)).ok()?).ok()
    }
}

/// Trusts one certificate, whatever name or date it bears, from whoever proves to have its key.
#[derive(Debug)]
pub(crate) struct Pinned {
    sha256: String,
    provider: Arc<CryptoProvider>,
}

impl Pinned {
    pub(crate) const fn new(sha256: String, provider: Arc<CryptoProvider>) -> Self {
        Self { sha256, provider }
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if hex(&Sha256::digest(end_entity)) == self.sha256 {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_of_an_address_that_can_be_connected_to() {
        let url = |bound: &str, certificate| Reach::new(bound.parse().expect("an address"), certificate).url;
        assert_eq!(url("0.0.0.0:8970", None), "http://127.0.0.1:8970");
        assert_eq!(url("[::]:1", None), "http://[::1]:1");
        assert_eq!(url("192.0.2.1:8970", Some(&b"der"[..])), "https://192.0.2.1:8970");
    }

    #[test]
    fn a_note_is_read_back() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(Reach::read(dir.path()), None);
        let note = Reach::new("127.0.0.1:8970".parse().expect("an address"), Some(b"der"));
        note.write(&disk::OsDisk, dir.path()).expect("writes");
        assert_eq!(Reach::read(dir.path()), Some(note));
        Reach::remove(&disk::OsDisk, dir.path());
        assert_eq!(Reach::read(dir.path()), None);
    }
}
