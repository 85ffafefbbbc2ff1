//! TLS for channels: rustls with ring, the system's authorities or those of a file.

use std::path::Path;
use std::sync::Arc;

use disk::Disk;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use super::build::BuildError;

/// Makes the configuration of a client that trusts `ca_file`, or the system's authorities where there is none.
///
/// # Errors
/// When the file cannot be read, or holds no authorities.
pub fn client(ca_file: Option<&Path>, disk: &dyn Disk) -> Result<Arc<ClientConfig>, BuildError> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            for certificate in certificates(&disk::read(disk, path)?)? {
                roots.add(certificate).map_err(|_| BuildError::Certificates)?;
            }
            if roots.is_empty() {
                return Err(BuildError::Certificates);
            }
        }
        None => {
            // A machine without authorities still gets a channel: its attempts say that they trust nobody.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(BuildError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, BuildError> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|_| BuildError::Certificates)
}

/// Says why a handshake failed, in words that fit a sentence.
#[must_use]
pub fn explain(error: &rustls::Error) -> String {
    use rustls::CertificateError;
    match error {
        rustls::Error::InvalidCertificate(certificate) => match certificate {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the certificate has expired".to_owned()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the certificate is not valid yet".to_owned()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "the certificate is for another name".to_owned()
            }
            CertificateError::UnknownIssuer => "the certificate's issuer is not trusted".to_owned(),
            _ => "the certificate is not valid".to_owned(),
        },
        rustls::Error::AlertReceived(alert) => format!("the server sent the alert {alert:?}"),
        _ => "the server does not speak TLS as expected".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use rustls::{AlertDescription, CertificateError, Error};

    use super::*;

    #[test]
    fn failures_are_said_in_words() {
        for (error, words) in [
            (Error::InvalidCertificate(CertificateError::Expired), "expired"),
            (Error::InvalidCertificate(CertificateError::NotValidYet), "not valid yet"),
            (Error::InvalidCertificate(CertificateError::NotValidForName), "another name"),
            (Error::InvalidCertificate(CertificateError::UnknownIssuer), "issuer"),
            (Error::InvalidCertificate(CertificateError::BadSignature), "not valid"),
            (Error::AlertReceived(AlertDescription::ProtocolVersion), "ProtocolVersion"),
            (Error::DecryptError, "as expected"),
        ] {
            assert!(explain(&error).contains(words), "{error:?}");
        }
    }

    #[test]
    fn a_file_without_authorities_is_refused() {
        let disk = disk::OsDisk;
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("ca.pem");
        assert!(matches!(client(Some(&path), &disk), Err(BuildError::Disk(_))));
        for content in
            ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "-----BEGIN CERTIFICATE-----\n"]
        {
            let file = disk
                .open(&path, if disk.exists(&path) { disk::Open::Write } else { disk::Open::CreateNew })
                .expect("opens");
            file.set_len(0).expect("empties");
            file.write_at(content.as_bytes(), 0).expect("writes");
            assert!(matches!(client(Some(&path), &disk), Err(BuildError::Certificates)), "{content}");
        }
        assert!(client(None, &disk).is_ok());
    }
}
