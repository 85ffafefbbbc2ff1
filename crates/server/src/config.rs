//! The `server` part of `dihya.yaml`.

use std::net::SocketAddr;
use std::path::PathBuf;

use model::Tenant;
use model::config::{FieldSpec, Spec, Ty};
use model::limits::LISTENERS_MAX;
use serde::Deserialize;

/// Where the server listens unless told otherwise: it exposes nothing to the network.
pub const LISTEN_DEFAULT: &str = "127.0.0.1:8970";

/// The entry of `status_page.checks` that means all of them.
pub const ALL_CHECKS: &str = "*";

/// The keys of `server`.
pub static SPEC: Spec = Spec {
    name: "server",
    doc: "The listener that everything HTTP shares, and the public status page.",
    fields: &[
        FieldSpec::optional(
            "listen",
            Ty::Address,
            LISTEN_DEFAULT,
            "The address that everything HTTP shares; a change of it needs a restart.",
        ),
        FieldSpec::optional(
            "external_url",
            Ty::Url(&["http", "https"]),
            "",
            "Where people reach this server, for links in notifications and feeds.",
        ),
        FieldSpec::optional("tls", Ty::Object(&TLS), "", "Serve HTTPS; without it, HTTP."),
        FieldSpec::optional("status_page", Ty::Object(&STATUS_PAGE), "", "What strangers see at /status."),
        FieldSpec::optional(
            "listeners",
            Ty::List(&LISTENER),
            "",
            "Listeners of other protocols; a change of them needs a restart.",
        ),
    ],
};

static LISTENER: Ty = Ty::Tagged {
    tag: "kind",
    common: &LISTENER_COMMON,
    variants: &[("syslog-udp", &SYSLOG_UDP), ("syslog-tcp", &SYSLOG_TCP), ("syslog-tls", &SYSLOG_TLS)],
};

static LISTENER_COMMON: Spec = Spec {
    name: "listener",
    doc: "Where another protocol than HTTP is listened for.",
    fields: &[
        FieldSpec::required("kind", Ty::Text, "What is spoken there."),
        FieldSpec::required("address", Ty::Address, "The address, such as `0.0.0.0:514`."),
        FieldSpec::optional("tenant", Ty::Text, Tenant::DEFAULT, "Whose events these are."),
        FieldSpec::optional("stream", Ty::Text, intake::syslog::STREAM_DEFAULT, "The stream that they belong to."),
        FieldSpec::optional(
            "time_zone",
            Ty::TimeZone,
            "UTC",
            "The zone of times that name none, as those of RFC 3164.",
        ),
    ],
};

static SYSLOG_UDP: Spec = Spec {
    name: "server.listeners.* of kind syslog-udp",
    doc: "Syslog of RFC 5424 and RFC 3164, one message a datagram. Whoever reaches the address can write.",
    fields: &[],
};

static SYSLOG_TCP: Spec = Spec {
    name: "server.listeners.* of kind syslog-tcp",
    doc: "The same over TCP, counted or ended by a line feed (RFC 6587). Whoever reaches the address can write.",
    fields: &[],
};

static SYSLOG_TLS: Spec = Spec {
    name: "server.listeners.* of kind syslog-tls",
    doc: "The same over TLS (RFC 5425).",
    fields: &[
        FieldSpec::required("cert_file", Ty::Path, "PEM file with the certificate and the intermediates behind it."),
        FieldSpec::required("key_file", Ty::Path, "PEM file with the private key."),
        FieldSpec::optional(
            "client_ca_file",
            Ty::Path,
            "",
            "PEM file with authorities: senders must show a certificate of one. Left out: whoever reaches the address can write.",
        ),
    ],
};

static TLS: Spec = Spec {
    name: "tls",
    doc: "The certificate that the server shows. Both files are read again when they change.",
    fields: &[
        FieldSpec::required("cert_file", Ty::Path, "PEM file with the certificate and the intermediates behind it."),
        FieldSpec::required("key_file", Ty::Path, "PEM file with the private key."),
    ],
};

static STATUS_PAGE: Spec = Spec {
    name: "status_page",
    doc: "The page that shows strangers how the services stand.",
    fields: &[
        FieldSpec::optional("title", Ty::Text, "", "The name above the page; `Dihya` when left out."),
        FieldSpec::optional("public", Ty::Bool, "true", "Whether it is shown without a token."),
        FieldSpec::optional("tenant", Ty::Text, Tenant::DEFAULT, "The tenant whose checks it shows."),
        FieldSpec::optional(
            "checks",
            Ty::List(&Ty::Text),
            "",
            "The checks it shows, by id, or `*` for all; nothing else is ever named on it. Left out: all while \
             listening on loopback, none otherwise.",
        ),
    ],
};

/// The `server` part of `dihya.yaml`, as read.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The address to listen on.
    pub listen: String,
    /// Where people reach the server, without a trailing slash; `None` when it was not said.
    pub external_url: Option<String>,
    /// The certificate to show; `None` for plain HTTP.
    pub tls: Option<TlsConfig>,
    /// What strangers see.
    pub status_page: StatusPageConfig,
    /// Where other protocols are listened for.
    pub listeners: Vec<ListenerConfig>,
    /// The name of this host, for links where the server listens on every address; no key of the file.
    #[serde(skip)]
    pub host_name: String,
}

/// The certificate that the server shows.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// PEM file with the certificate chain.
    pub cert_file: PathBuf,
    /// PEM file with the private key.
    pub key_file: PathBuf,
}

/// Where another protocol is listened for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerConfig {
    /// What is spoken there.
    pub kind: ListenerKind,
    /// The address to listen on.
    pub address: String,
    /// Whose events these are.
    #[serde(default)]
    pub tenant: Tenant,
    /// The stream that they belong to.
    #[serde(default = "stream_default")]
    pub stream: String,
    /// The zone of times that name none.
    #[serde(default = "time_zone_default")]
    pub time_zone: String,
    /// PEM file with the certificate chain; TLS alone has one.
    pub cert_file: Option<PathBuf>,
    /// PEM file with the private key.
    pub key_file: Option<PathBuf>,
    /// PEM file with the authorities of senders.
    pub client_ca_file: Option<PathBuf>,
}

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ListenerKind {
    /// Syslog over UDP.
    SyslogUdp,
    /// Syslog over TCP.
    SyslogTcp,
    /// Syslog over TLS.
    SyslogTls,
}

impl ListenerKind {
    /// Returns the word of the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SyslogUdp => "syslog-udp",
            Self::SyslogTcp => "syslog-tcp",
            Self::SyslogTls => "syslog-tls",
        }
    }
}

impl ListenerConfig {
    /// Returns the files of the certificate; `None` where TLS is not spoken.
    #[must_use]
    pub fn tls(&self) -> Option<TlsConfig> {
        let (cert_file, key_file) = (self.cert_file.clone()?, self.key_file.clone()?);
        (self.kind == ListenerKind::SyslogTls).then_some(TlsConfig { cert_file, key_file })
    }
}

fn stream_default() -> String {
    intake::syslog::STREAM_DEFAULT.to_owned()
}

fn time_zone_default() -> String {
    "UTC".to_owned()
}

/// What strangers see at `/status`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StatusPageConfig {
    /// The name above the page.
    pub title: String,
    /// Whether it is shown without a token.
    pub public: bool,
    /// Whose checks it shows.
    pub tenant: Tenant,
    /// The checks it shows; `None` where nothing was said.
    pub checks: Option<Vec<String>>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: LISTEN_DEFAULT.to_owned(),
            external_url: None,
            tls: None,
            status_page: StatusPageConfig::default(),
            listeners: Vec::new(),
            host_name: String::new(),
        }
    }
}

impl Default for StatusPageConfig {
    fn default() -> Self {
        Self { title: String::new(), public: true, tenant: Tenant::default(), checks: None }
    }
}

impl Config {
    /// Reads the part from the JSON that `dihya/config` made of it; `Null` gives the defaults.
    ///
    /// # Errors
    /// When the JSON does not have the shape of [`SPEC`].
    pub fn from_json(json: &serde_json::Value) -> Result<Self, serde_json::Error> {
        if json.is_null() { Ok(Self::default()) } else { serde_json::from_value(json.clone()) }
    }

    /// Holds fields against each other: `(dotted path below server, what is wrong, what to write instead)` for each
    /// problem. `checks` are the ids that the configuration declares.
    #[must_use]
    pub fn check(&self, checks: &[&str]) -> Vec<(String, String, Option<String>)> {
        let mut problems = Vec::new();
        if self.listeners.len() > LISTENERS_MAX {
            problems.push(("listeners".to_owned(), format!("more than {LISTENERS_MAX} listeners"), None));
        }
        for (at, listener) in self.listeners.iter().enumerate() {
            if let Some((why, hint)) = intake::elastic::not_a_stream(&listener.stream) {
                problems.push((format!("listeners.{at}.stream"), why.to_owned(), Some(hint.to_owned())));
            }
            let same = |other: &&ListenerConfig| {
                other.address == listener.address
                    && (other.kind == ListenerKind::SyslogUdp) == (listener.kind == ListenerKind::SyslogUdp)
                    && !listener.address.ends_with(":0")
            };
            if self.listeners.iter().take(at).find(same).is_some() {
                problems.push((format!("listeners.{at}.address"), "another listener has it".to_owned(), None));
            }
        }
        for (at, id) in self.status_page.checks.iter().flatten().enumerate() {
            if id != ALL_CHECKS && !checks.contains(&id.as_str()) {
                problems.push((
                    format!("status_page.checks.{at}"),
                    format!("there is no check {id}"),
                    nearest(id, checks).map(|near| format!("did you mean {near}?")),
                ));
            }
        }
        problems
    }

    /// Returns the URL that people reach the server at, without a trailing slash.
    #[must_use]
    pub fn url(&self, bound: SocketAddr) -> String {
        match &self.external_url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => {
                let scheme = if self.tls.is_some() { "https" } else { "http" };
                // Nobody can follow a link to 0.0.0.0.
                if bound.ip().is_unspecified() && !self.host_name.is_empty() {
                    format!("{scheme}://{}:{}", self.host_name, bound.port())
                } else {
                    format!("{scheme}://{bound}")
                }
            }
        }
    }

    /// Tells whether the server listens on every address and nobody said what people call it.
    #[must_use]
    pub fn is_reachable_without_a_name(&self) -> bool {
        let host = self.listen.rsplit_once(':').map_or("", |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        self.external_url.is_none() && host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_unspecified())
    }

    /// Tells whether the status page may name the check `id`, given where the server listens.
    #[must_use]
    pub fn shows(&self, id: &str, bound: SocketAddr) -> bool {
        match &self.status_page.checks {
            Some(allowed) => allowed.iter().any(|entry| entry == ALL_CHECKS || entry == id),
            None => bound.ip().is_loopback(),
        }
    }
}

/// Returns the name that differs from `wanted` in at most two characters, inserted, removed or changed.
pub(crate) fn nearest<'a>(wanted: &str, names: &[&'a str]) -> Option<&'a str> {
    names
        .iter()
        .map(|name| (distance(wanted, name), *name))
        .filter(|(edits, _)| *edits <= 2)
        .min()
        .map(|(_, name)| name)
}

/// The Levenshtein distance, by rows.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_table() {
        let config = Config::from_json(&serde_json::Value::Null).expect("defaults");
        assert_eq!(config, Config::from_json(&json!({})).expect("reads"));
        assert_eq!(config.listen, LISTEN_DEFAULT);
        assert!(config.status_page.public);
        assert!(SPEC.fields.iter().any(|field| field.key == "listen" && field.default == LISTEN_DEFAULT));
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        assert!(Config::from_json(&json!({"port": 80})).is_err());
        assert!(Config::from_json(&json!({"status_page": {"tenant": "Not One"}})).is_err());
        let config = Config::from_json(&json!({
            "listeners": [
                {"kind": "syslog-udp", "address": "127.0.0.1:514"},
                {"kind": "syslog-tcp", "address": "127.0.0.1:514", "stream": "app-2026.11.28"},
                {"kind": "syslog-tls", "address": "127.0.0.1:514", "cert_file": "c", "key_file": "k"},
            ],
            "status_page": {"checks": ["*", "web", "wep", "nothing"]},
        }))
        .expect("reads");
        let problems = config.check(&["web", "mail"]);
        let paths: Vec<&str> = problems.iter().map(|(path, _, _)| path.as_str()).collect();
        assert_eq!(
            paths,
            ["listeners.1.stream", "listeners.2.address", "status_page.checks.2", "status_page.checks.3"]
        );
        assert_eq!(problems[2].2.as_deref(), Some("did you mean web?"));
        assert_eq!(problems[3].2, None);
        let [udp, tcp, tls] = config.listeners.try_into().expect("three");
        assert_eq!([&udp, &tcp, &tls].map(|listener| listener.tls().is_some()), [false, false, true]);
        assert_eq!(
            [udp.kind, tcp.kind, tls.kind].map(ListenerKind::as_str),
            ["syslog-udp", "syslog-tcp", "syslog-tls"]
        );
        let listeners = vec![udp; LISTENERS_MAX + 1];
        let many = Config { listeners, ..Config::default() }.check(&[]);
        assert!(many.iter().any(|(path, why, _)| path == "listeners" && why.contains("more than 32")));
        assert!(Config::from_json(&json!({"listeners": [{"kind": "syslog-rfc"}]})).is_err());
    }

    #[test]
    fn without_a_word_only_loopback_shows_checks() {
        let (here, there) = ("127.0.0.1:1".parse().expect("address"), "192.0.2.1:1".parse().expect("address"));
        let silent = Config::default();
        assert!(silent.shows("web", here) && !silent.shows("web", there));
        let config = Config::from_json(&json!({"status_page": {"checks": ["web"]}})).expect("reads");
        assert!(config.shows("web", there) && !config.shows("mail", here));
    }

    #[test]
    fn the_url_is_the_external_one_if_there_is_one() {
        let bound = "[::1]:8970".parse().expect("address");
        let mut config = Config::default();
        assert_eq!(config.url(bound), "http://[::1]:8970");
        config.tls = Some(TlsConfig { cert_file: "c".into(), key_file: "k".into() });
        assert_eq!(config.url(bound), "https://[::1]:8970");
        let every = "0.0.0.0:8970".parse().expect("address");
        assert_eq!(config.url(every), "https://0.0.0.0:8970");
        config.host_name = "watch".into();
        assert_eq!(config.url(every), "https://watch:8970");
        assert_eq!(config.url(bound), "https://[::1]:8970");
        for (listen, every) in [("0.0.0.0:1", true), ("[::]:1", true), ("127.0.0.1:1", false), ("watch:1", false)] {
            let config = Config { listen: listen.into(), ..Config::default() };
            assert_eq!(config.is_reachable_without_a_name(), every, "{listen}");
        }
        config.external_url = Some("https://status.example/".into());
        assert_eq!(config.url(bound), "https://status.example");
    }
}
