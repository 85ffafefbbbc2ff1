//! `outputs:` in `dihya.yaml`: who is handed events, which of them, and how.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use model::config::{FieldSpec, Spec, Ty, de};
use model::limits::OUTPUTS_MAX;
use model::{Private, Tenant};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::pattern::Pattern;

/// The index of an output that names none.
pub const INDEX_DEFAULT: &str = "dihya-{stream}-{+yyyy.MM.dd}";
const DAY: Duration = Duration::from_secs(86_400);

const TIMEOUT: Ty = Ty::Duration { min_ms: 100, max_ms: 300_000 };
const CA_FILE: FieldSpec = FieldSpec::optional(
    "ca_file",
    Ty::Path,
    "",
    "A PEM file with the authorities that the receiver's certificate must come from, instead of the system's.",
);

const COMMON: Spec = Spec {
    name: "outputs.*",
    doc: "Somebody who is handed events as they come out of the ledger: cleared, in the Elastic Common Schema, in order. \
          docs/outputs.md says what each kind promises.",
    fields: &[
        FieldSpec::required("kind", Ty::Enum(&["file", "elasticsearch", "logstash"]), "What takes the events."),
        FieldSpec::optional("tenant", Ty::Text, "", "Whose events; all tenants' without it."),
        FieldSpec::optional(
            "streams",
            Ty::OneOrMore(&Ty::Text),
            "[\"*\"]",
            "Which streams: names, in which `*` stands for any characters.",
        ),
        FieldSpec::optional(
            "begin",
            Ty::Enum(&["oldest", "now"]),
            "oldest",
            "Where an output begins that has handed over nothing yet: with the oldest event whose payload is kept, or with the next one.",
        ),
        FieldSpec::optional(
            "give_up_after",
            Ty::Duration { min_ms: 60_000, max_ms: 365 * 86_400_000 },
            "3d",
            "How long the ledger keeps payloads for an output that is behind, beyond what it keeps anyway, and how long one event is tried again that the receiver cannot take while it takes others.",
        ),
    ],
};

const FILE: Spec = Spec {
    name: "outputs.* of kind file",
    doc: "JSON lines in a file, synced, for Filebeat or any other reader.",
    fields: &[
        FieldSpec::required("path", Ty::Path, "The file."),
        FieldSpec::optional("rotate_size", Ty::Size, "64MiB", "The size at which the file is put aside."),
        FieldSpec::optional(
            "rotate_count",
            Ty::Int { min: 1, max: 1_000 },
            "10",
            "How many files that were put aside are kept: what nobody has read by then is gone from them.",
        ),
    ],
};

const ELASTICSEARCH: Spec = Spec {
    name: "outputs.* of kind elasticsearch",
    doc: "Elasticsearch, OpenSearch, or whatever else takes `_bulk`.",
    fields: &[
        FieldSpec::required("url", Ty::Url(&["http", "https"]), "Where it answers; a path before `/_bulk` is kept."),
        FieldSpec::optional(
            "index",
            Ty::Text,
            INDEX_DEFAULT,
            "The index or data stream; `{stream}`, `{tenant}` and the day of the admission, `{+yyyy.MM.dd}`, are put in.",
        ),
        FieldSpec::optional("pipeline", Ty::Text, "", "The ingest pipeline that documents go through."),
        FieldSpec::optional("username", Ty::Text, "", "The user."),
        FieldSpec::optional("password", Ty::Secret, "", "That user's password."),
        FieldSpec::optional("api_key", Ty::Secret, "", "An API key, as `id:key` or in Base64, instead of a user."),
        FieldSpec::optional("gzip", Ty::Bool, "true", "Whether bodies are packed."),
        CA_FILE,
        FieldSpec::optional("timeout", TIMEOUT, "60s", "How long one batch may take."),
    ],
};

const LOGSTASH: Spec = Spec {
    name: "outputs.* of kind logstash",
    doc: "JSON lines over TCP or TLS, as Logstash's input `tcp` with the codec `json_lines` reads them. One connection a batch: \
          it counts as taken when the receiver has read all and closed its side.",
    fields: &[
        FieldSpec::required("address", Ty::Address, "Where it listens, as host:port."),
        FieldSpec::optional("tls", Ty::Bool, "true", "Whether the connection is TLS."),
        FieldSpec::optional(
            "server_name",
            Ty::Text,
            "",
            "The name in the receiver's certificate, where it is not that of the address.",
        ),
        CA_FILE,
        FieldSpec::optional("timeout", TIMEOUT, "60s", "How long one batch may take."),
    ],
};

/// What may stand under `outputs:`.
pub const TY: Ty = Ty::Map(&Ty::Tagged {
    tag: "kind",
    common: &COMMON,
    variants: &[("file", &FILE), ("elasticsearch", &ELASTICSEARCH), ("logstash", &LOGSTASH)],
});

/// One output as configured. Secrets in it are resolved.
#[derive(Clone, Debug, Deserialize)]
pub struct Output {
    /// Whose events; all tenants' where there is none.
    #[serde(default)]
    pub tenant: Option<String>,
    /// Which streams, as patterns.
    #[serde(default = "all", deserialize_with = "de::one_or_more")]
    pub streams: Vec<String>,
    /// Where it begins.
    #[serde(default)]
    pub begin: Begin,
    /// How long payloads are kept for it, and single events tried again.
    #[serde(default = "three_days", deserialize_with = "de::duration")]
    pub give_up_after: Duration,
    /// What takes the events.
    #[serde(flatten)]
    pub to: To,
    /// What tells one configuration from another without showing either.
    #[serde(skip)]
    pub fingerprint: [u8; 32],
}

/// Where an output begins that has no place yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Begin {
    /// With the oldest event that is kept.
    #[default]
    Oldest,
    /// With the next event.
    Now,
}

/// What takes the events.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum To {
    /// JSON lines in a file.
    File(FileConfig),
    /// `_bulk`.
    Elasticsearch(ElasticConfig),
    /// JSON lines over TCP or TLS.
    Logstash(LogstashConfig),
}

/// `kind: file`.
#[derive(Clone, Debug, Deserialize)]
pub struct FileConfig {
    /// The file.
    pub path: PathBuf,
    /// The size at which it is put aside, in bytes.
    #[serde(default = "default_size", deserialize_with = "de::size")]
    pub rotate_size: u64,
    /// How many files that were put aside are kept.
    #[serde(default = "ten")]
    pub rotate_count: u32,
}

/// `kind: elasticsearch`.
#[derive(Clone, Debug, Deserialize)]
pub struct ElasticConfig {
    /// Where it answers.
    pub url: String,
    /// The name of the index, as a pattern.
    #[serde(default = "default_index")]
    pub index: String,
    /// The ingest pipeline.
    #[serde(default)]
    pub pipeline: Option<String>,
    /// The user.
    #[serde(default)]
    pub username: Option<String>,
    /// The user's password.
    #[serde(default, deserialize_with = "de::filled_secret_opt")]
    pub password: Option<Private<String>>,
    /// An API key.
    #[serde(default, deserialize_with = "de::filled_secret_opt")]
    pub api_key: Option<Private<String>>,
    /// Whether bodies are packed.
    #[serde(default = "yes")]
    pub gzip: bool,
    /// Authorities, instead of the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// How long one batch may take.
    #[serde(default = "a_minute", deserialize_with = "de::duration")]
    pub timeout: Duration,
}

/// `kind: logstash`.
#[derive(Clone, Debug, Deserialize)]
pub struct LogstashConfig {
    /// Where it listens.
    pub address: String,
    /// Whether the connection is TLS.
    #[serde(default = "yes")]
    pub tls: bool,
    /// The name in its certificate.
    #[serde(default)]
    pub server_name: Option<String>,
    /// Authorities, instead of the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// How long one batch may take.
    #[serde(default = "a_minute", deserialize_with = "de::duration")]
    pub timeout: Duration,
}

/// Outputs by name.
pub type Configs = BTreeMap<String, Output>;
/// A dotted path below `outputs`, what is wrong there, and what to write instead.
pub type Wrong = (String, String, Option<String>);

/// Reads `outputs:` as validated JSON.
///
/// # Errors
/// When an output is not as its kind declares.
pub fn read(outputs: &serde_json::Value) -> Result<Configs, serde_json::Error> {
    let Some(entries) = outputs.as_object() else { return Ok(Configs::new()) };
    let read = |(name, entry): (&String, &serde_json::Value)| {
        let output: Output = serde_json::from_value(entry.clone())?;
        let fingerprint = Sha256::digest(entry.to_string().as_bytes()).into();
        Ok((name.clone(), Output { fingerprint, ..output }))
    };
    entries.iter().map(read).collect()
}

/// Finds what the tables cannot express.
#[must_use]
pub fn check(outputs: &Configs, tenants: &[&Tenant]) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    if outputs.len() > OUTPUTS_MAX {
        wrong.push((String::new(), format!("more than {OUTPUTS_MAX} outputs"), None));
    }
    for (name, output) in outputs {
        let found = output.check(tenants);
        wrong.extend(found.into_iter().map(|(path, why, instead)| (format!("{name}.{path}"), why, instead)));
    }
    wrong
}

impl Output {
    /// Says in a word what takes the events.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self.to {
            To::File(_) => "file",
            To::Elasticsearch(_) => "elasticsearch",
            To::Logstash(_) => "logstash",
        }
    }

    /// Tells whether a tenant's events go here.
    #[must_use]
    pub fn is_for(&self, tenant: &Tenant) -> bool {
        self.tenant.as_deref().is_none_or(|name| name == tenant.as_str())
    }

    /// Returns the host that the file names, if any.
    #[must_use]
    pub fn declared(&self) -> Option<String> {
        match &self.to {
            To::File(_) => None,
            To::Elasticsearch(elastic) => Some(url::Url::parse(&elastic.url).ok()?.host_str()?.to_owned()),
            To::Logstash(logstash) => Some(split_address(&logstash.address)?.0.to_owned()),
        }
    }

    fn check(&self, tenants: &[&Tenant]) -> Vec<Wrong> {
        let wrong = |path: &str, why: &str, instead: Option<&str>| {
            (path.to_owned(), why.to_owned(), instead.map(str::to_owned))
        };
        let mut found = Vec::new();
        if let Some(tenant) = self.tenant.as_deref().filter(|name| tenants.iter().all(|t| t.as_str() != *name)) {
            found.push(wrong("tenant", &format!("there is no tenant {tenant}; declare it under tenants"), None));
        }
        if self.streams.is_empty() || self.streams.iter().any(String::is_empty) {
            found.push(wrong(
                "streams",
                "expected names of streams, or patterns such as web-*",
                Some("write \"*\" for all"),
            ));
        }
        match &self.to {
            To::File(file) if file.rotate_size < 4_096 => {
                found.push(wrong("rotate_size", "cannot rotate so small a file", Some("write 1MiB or more")));
            }
            To::File(_) => {}
            To::Elasticsearch(elastic) => {
                if let Err(unread) = Pattern::read(&elastic.index) {
                    found.push(wrong("index", &unread.why, Some(&format!("write {}", unread.instead))));
                }
                let has_user = url::Url::parse(&elastic.url).is_ok_and(|url| !url.username().is_empty());
                if has_user || url::Url::parse(&elastic.url).is_ok_and(|url| url.query().is_some()) {
                    found.push(wrong(
                        "url",
                        "expected an address alone",
                        Some("use username and password, or api_key"),
                    ));
                }
                match (&elastic.username, &elastic.password, &elastic.api_key) {
                    (Some(_), None, _) => found.push(wrong("username", "a user needs a password", None)),
                    (None, Some(_), _) => found.push(wrong("password", "a password needs a username", None)),
                    (Some(_), _, Some(_)) => {
                        found.push(wrong(
                            "api_key",
                            "expected a user or an API key, not both",
                            Some("remove one of them"),
                        ));
                    }
                    _ => {}
                }
            }
            To::Logstash(logstash) if !logstash.tls && logstash.ca_file.is_some() => {
                found.push(wrong("ca_file", "without TLS there is no certificate to be checked", Some("remove it")));
            }
            To::Logstash(_) => {}
        }
        found
    }
}

/// Splits `host:port`, IPv6 addresses in brackets.
pub(crate) fn split_address(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Some((host, port.parse().ok()?)).filter(|(host, _)| !host.is_empty())
}

fn all() -> Vec<String> {
    vec!["*".to_owned()]
}

const fn three_days() -> Duration {
    DAY.saturating_mul(3)
}

const fn a_minute() -> Duration {
    Duration::from_secs(60)
}

const fn default_size() -> u64 {
    64 << 20
}

const fn ten() -> u32 {
    10
}

const fn yes() -> bool {
    true
}

fn default_index() -> String {
    INDEX_DEFAULT.to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn outputs_are_read_with_their_defaults() {
        let json = json!({
            "file": {"kind": "file", "path": "events.json"},
            "es": {"kind": "elasticsearch", "url": "https://es.example:9200", "api_key": "hunter2", "streams": "web-*",
                   "tenant": "default", "begin": "now", "give_up_after": "1h", "timeout": "5s"},
            "ls": {"kind": "logstash", "address": "[::1]:5044", "tls": false},
        });
        let outputs = read(&json).expect("reads");
        assert_eq!(check(&outputs, &[&Tenant::default()]), []);
        let es = &outputs["es"];
        assert_eq!((es.kind(), es.begin, es.give_up_after), ("elasticsearch", Begin::Now, Duration::from_secs(3_600)));
        assert_eq!(es.streams, ["web-*"]);
        let To::Elasticsearch(elastic) = &es.to else { panic!("is elasticsearch") };
        assert_eq!((elastic.index.as_str(), elastic.gzip), (INDEX_DEFAULT, true));
        assert!(!format!("{outputs:?}").contains("hunter2"));
        let To::File(file) = &outputs["file"].to else { panic!("is a file") };
        assert_eq!((file.rotate_size, file.rotate_count, outputs["file"].give_up_after), (64 << 20, 10, 3 * DAY));
        let hosts: Vec<_> = outputs.values().filter_map(Output::declared).collect();
        assert_eq!(hosts, ["es.example", "::1"]);
        let kinds: Vec<_> = outputs.values().map(Output::kind).collect();
        assert_eq!(kinds, ["elasticsearch", "file", "logstash"]);
        let other = Tenant::new("clinic").expect("a name");
        assert!(outputs["file"].is_for(&other) && !es.is_for(&other));
        let again = read(&json).expect("reads");
        assert_eq!(again["es"].fingerprint, es.fingerprint);
        assert_ne!(again["file"].fingerprint, es.fingerprint);
        assert!(read(&serde_json::Value::Null).expect("reads").is_empty());
    }

    #[test]
    fn what_the_tables_cannot_say_is_found() {
        let outputs = read(&json!({
            "a": {"kind": "file", "path": "x", "rotate_size": 100, "streams": [], "tenant": "clinc"},
            "b": {"kind": "elasticsearch", "url": "http://u:p@h/?x=1", "index": "Logs", "username": "u"},
            "c": {"kind": "elasticsearch", "url": "http://h", "password": "p"},
            "d": {"kind": "elasticsearch", "url": "http://h", "username": "u", "password": "p", "api_key": "k"},
            "e": {"kind": "logstash", "address": "h:1", "tls": false, "ca_file": "x.pem"},
        }))
        .expect("reads");
        let paths: Vec<String> = check(&outputs, &[&Tenant::default()]).into_iter().map(|(path, ..)| path).collect();
        let wanted = [
            "a.tenant",
            "a.streams",
            "a.rotate_size",
            "b.index",
            "b.url",
            "b.username",
            "c.password",
            "d.api_key",
            "e.ca_file",
        ];
        assert_eq!(paths, wanted);
        let many = (0..=OUTPUTS_MAX).map(|n| (n.to_string(), outputs["c"].clone())).collect();
        assert!(check(&many, &[]).iter().any(|(path, ..)| path.is_empty()));
    }
}
