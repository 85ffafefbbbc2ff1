//! The configuration keys that all kinds with a connection share, and the macros that append them to a kind's own.

use model::config::{FieldSpec, Ty};

/// `resolver`.
pub const RESOLVER: FieldSpec = FieldSpec::optional(
    "resolver",
    Ty::Text,
    "",
    "Address of the DNS server to ask, with or without a port; the system's where it is left out.",
);
/// `deny_private`.
pub const DENY_PRIVATE: FieldSpec = FieldSpec::optional(
    "deny_private",
    Ty::Bool,
    "false",
    "Refuse to connect to loopback, link-local, private and other addresses that are not public, those of `proxy` and \
     `resolver` included; true where it is left out for a tenant other than `default`.",
);
/// `family`.
pub const FAMILY: FieldSpec = FieldSpec::optional(
    "family",
    Ty::Enum(&["any", "ipv4", "ipv6"]),
    "any",
    "Which addresses to use; `any` tries IPv6 first and IPv4 a quarter of a second later.",
);
/// `proxy`.
pub const PROXY: FieldSpec = FieldSpec::optional(
    "proxy",
    Ty::Url(&["http"]),
    "",
    "HTTP proxy to ask for a tunnel (CONNECT); the name is then resolved by the proxy, unless `deny_private` is set.",
);
/// `ca_file`.
pub const CA_FILE: FieldSpec = FieldSpec::optional(
    "ca_file",
    Ty::Path,
    "",
    "PEM file of the certificate authorities to trust instead of the system's.",
);
/// `server_name`.
pub const SERVER_NAME: FieldSpec = FieldSpec::optional(
    "server_name",
    Ty::Text,
    "",
    "Name to ask for and to verify in the certificate, where it is not the host's.",
);
/// `min_tls_version`.
pub const MIN_TLS_VERSION: FieldSpec =
    FieldSpec::optional("min_tls_version", Ty::Enum(&["1.2", "1.3"]), "1.2", "Lowest version of TLS to accept.");
/// `client_cert_file`.
pub const CLIENT_CERT_FILE: FieldSpec =
    FieldSpec::optional("client_cert_file", Ty::Path, "", "PEM file of the certificate chain to present.");
/// `client_key_file`.
pub const CLIENT_KEY_FILE: FieldSpec =
    FieldSpec::optional("client_key_file", Ty::Path, "", "PEM file of the key of `client_cert_file`.");
/// `insecure`.
pub const INSECURE: FieldSpec = FieldSpec::optional(
    "insecure",
    Ty::Bool,
    "false",
    "Go on when the certificate does not verify; what is wrong with it is still in `tls.problem`.",
);

/// Appends to a kind's own [`FieldSpec`]s those of [`super::NetOptions`].
macro_rules! net_fields {
    ($($field:expr),* $(,)?) => {
        &[
            $($field,)*
            $crate::connect::spec::RESOLVER,
            $crate::connect::spec::FAMILY,
            $crate::connect::spec::PROXY,
            $crate::connect::spec::DENY_PRIVATE,
        ]
    };
}

/// Appends to a kind's own [`FieldSpec`]s those of [`super::NetOptions`] and [`super::TlsOptions`].
macro_rules! tls_fields {
    ($($field:expr),* $(,)?) => {
        $crate::connect::spec::net_fields![
            $($field,)*
            $crate::connect::spec::CA_FILE,
            $crate::connect::spec::SERVER_NAME,
            $crate::connect::spec::MIN_TLS_VERSION,
            $crate::connect::spec::CLIENT_CERT_FILE,
            $crate::connect::spec::CLIENT_KEY_FILE,
            $crate::connect::spec::INSECURE,
        ]
    };
}

pub(crate) use {net_fields, tls_fields};
