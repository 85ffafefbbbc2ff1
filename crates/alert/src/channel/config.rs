//! `channels:` in `dihya.yaml`: the endpoints that people and machines are told through.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use jiff::tz::TimeZone;
use model::Private;
use model::config::{FieldSpec, Spec, Ty, de};
use serde::{Deserialize, Deserializer};

const TIMEOUT: Ty = Ty::Duration { min_ms: 100, max_ms: 300_000 };
const ZONE: FieldSpec =
    FieldSpec::optional("time_zone", Ty::TimeZone, "UTC", "The time zone in which its readers are told times.");
const CA_FILE: FieldSpec = FieldSpec::optional(
    "ca_file",
    Ty::Path,
    "",
    "A PEM file with the authorities that the server's certificate must come from, instead of the system's.",
);
const PROXY: FieldSpec = FieldSpec::optional("proxy", Ty::Url(&["http"]), "", "An HTTP proxy to go through.");
const HTTP_TIMEOUT: FieldSpec = FieldSpec::optional("timeout", TIMEOUT, "10s", "How long one attempt may take.");

const COMMON: Spec = Spec {
    name: "channels.*",
    doc: "An endpoint. Over HTTP the head of an answer decides: 2xx is delivered, whatever becomes of the body; 400, 413, 415 \
          and 422 find fault with the message, which is given up; after 401, 403, 407, 408, 421, 425, 429, 5xx and \
          redirects (which are not followed) it is tried again until `give_up_after`; after all other 4xx, 404 and 410 \
          among them, ten times in all.",
    fields: &[FieldSpec::required(
        "kind",
        Ty::Enum(&["log", "email", "webhook", "slack", "teams"]),
        "What kind of endpoint it is.",
    )],
};

const LOG: Spec = Spec {
    name: "channels.* of kind log",
    doc: "JSON lines in the Elastic Common Schema, one per alert, to a file or to standard output.",
    fields: &[
        FieldSpec::optional("path", Ty::Path, "", "The file; standard output where there is none."),
        FieldSpec::optional("rotate_size", Ty::Size, "64MiB", "The size at which the file is put aside."),
        FieldSpec::optional(
            "rotate_count",
            Ty::Int { min: 1, max: 1_000 },
            "10",
            "How many files that were put aside are kept.",
        ),
        ZONE,
    ],
};

const EMAIL: Spec = Spec {
    name: "channels.* of kind email",
    doc: "E-mail over SMTP.",
    fields: &[
        FieldSpec::required("server", Ty::Address, "The server that takes the mail, as host:port."),
        FieldSpec::required("from", Ty::Text, "The sender."),
        FieldSpec::required("to", Ty::OneOrMore(&Ty::Text), "The recipients."),
        FieldSpec::optional("reply_to", Ty::Text, "", "Where answers go."),
        FieldSpec::optional(
            "tls",
            Ty::Enum(&["required", "implicit", "opportunistic", "none"]),
            "required",
            "`required` insists on STARTTLS, `implicit` speaks TLS from the start (port 465), `opportunistic` takes what there is.",
        ),
        FieldSpec::optional("username", Ty::Text, "", "The user at the server."),
        FieldSpec::optional("password", Ty::Secret, "", "That user's password; only ever sent over TLS or loopback."),
        FieldSpec::optional("hello", Ty::Text, "localhost", "The name that Dihya greets the server with."),
        CA_FILE,
        FieldSpec::optional("timeout", TIMEOUT, "30s", "How long one attempt may take."),
        ZONE,
    ],
};

const WEBHOOK: Spec = Spec {
    name: "channels.* of kind webhook",
    doc: "A POST of Alertmanager's webhook payload, version 4.",
    fields: &[
        FieldSpec::required("url", Ty::Url(&["http", "https"]), "Where to post."),
        FieldSpec::optional(
            "signing_key",
            Ty::Secret,
            "",
            "The key of `Dihya-Signature: v1=` HMAC-SHA256 over the time stamp, a dot and the body.",
        ),
        FieldSpec::optional("bearer_token", Ty::Secret, "", "Sent as `Authorization: Bearer`."),
        FieldSpec::optional("headers", Ty::Map(&Ty::Text), "{}", "Further headers."),
        FieldSpec::optional(
            "max_alerts",
            Ty::Int { min: 0, max: 100 },
            "0",
            "Most alerts in one post, the rest are counted; 0 for as many as a notification holds.",
        ),
        CA_FILE,
        PROXY,
        HTTP_TIMEOUT,
    ],
};

const SLACK: Spec = Spec {
    name: "channels.* of kind slack",
    doc: "A message through Slack's incoming webhook, or Mattermost's.",
    fields: &[
        FieldSpec::required("url", Ty::Secret, "The webhook's address, which is a secret."),
        CA_FILE,
        PROXY,
        HTTP_TIMEOUT,
        ZONE,
    ],
};

const TEAMS: Spec = Spec {
    name: "channels.* of kind teams",
    doc: "An adaptive card through a workflow webhook of Microsoft Teams.",
    fields: &[
        FieldSpec::required("url", Ty::Secret, "The workflow's address, which is a secret."),
        CA_FILE,
        PROXY,
        HTTP_TIMEOUT,
        ZONE,
    ],
};

/// What may stand under `channels:`: endpoints by name.
pub const TY: Ty = Ty::Map(&Ty::Tagged {
    tag: "kind",
    common: &COMMON,
    variants: &[("log", &LOG), ("email", &EMAIL), ("webhook", &WEBHOOK), ("slack", &SLACK), ("teams", &TEAMS)],
});

/// One endpoint as configured. Secrets in it are resolved.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Config {
    /// JSON lines to a file or standard output.
    Log(LogConfig),
    /// E-mail.
    Email(EmailConfig),
    /// Alertmanager's webhook.
    Webhook(WebhookConfig),
    /// Slack's incoming webhook.
    Slack(ChatConfig),
    /// A workflow of Microsoft Teams.
    Teams(ChatConfig),
}

/// `kind: log`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// The file; standard output where there is none.
    pub path: Option<PathBuf>,
    /// The size at which the file is put aside, in bytes.
    #[serde(deserialize_with = "de::size")]
    pub rotate_size: u64,
    /// How many files that were put aside are kept.
    pub rotate_count: u32,
    /// The time zone of its readers.
    #[serde(deserialize_with = "zone")]
    pub time_zone: TimeZone,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { path: None, rotate_size: 64 << 20, rotate_count: 10, time_zone: TimeZone::UTC }
    }
}

/// How an SMTP connection is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SmtpTls {
    /// STARTTLS, or no mail.
    #[default]
    Required,
    /// TLS from the first byte.
    Implicit,
    /// STARTTLS where the server offers it.
    Opportunistic,
    /// In clear.
    None,
}

/// `kind: email`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmailConfig {
    /// The server, as host:port.
    pub server: String,
    /// The sender.
    pub from: String,
    /// The recipients.
    #[serde(deserialize_with = "de::one_or_more")]
    pub to: Vec<String>,
    /// Where answers go.
    #[serde(default)]
    pub reply_to: Option<String>,
    /// How the connection is protected.
    #[serde(default)]
    pub tls: SmtpTls,
    /// The user at the server.
    #[serde(default)]
    pub username: Option<String>,
    /// That user's password.
    #[serde(default, deserialize_with = "de::filled_secret_opt")]
    pub password: Option<Private<String>>,
    /// The name that Dihya greets the server with.
    #[serde(default = "localhost")]
    pub hello: String,
    /// The authorities that the server's certificate must come from.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// How long one attempt may take.
    #[serde(default = "thirty_seconds", deserialize_with = "de::duration")]
    pub timeout: Duration,
    /// The time zone of the recipients.
    #[serde(default = "utc", deserialize_with = "zone")]
    pub time_zone: TimeZone,
}

/// `kind: webhook`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// Where to post.
    #[serde(deserialize_with = "de::secret")]
    pub url: Private<String>,
    /// The key of the signature.
    #[serde(default, deserialize_with = "de::filled_secret_opt")]
    pub signing_key: Option<Private<String>>,
    /// Sent as `Authorization: Bearer`.
    #[serde(default, deserialize_with = "de::filled_secret_opt")]
    pub bearer_token: Option<Private<String>>,
    /// Further headers.
    #[serde(default, deserialize_with = "secrets")]
    pub headers: BTreeMap<String, Private<String>>,
    /// Most alerts in one post; 0 for all.
    #[serde(default)]
    pub max_alerts: usize,
    /// The authorities that the server's certificate must come from.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// An HTTP proxy to go through.
    #[serde(default)]
    pub proxy: Option<String>,
    /// How long one attempt may take.
    #[serde(default = "ten_seconds", deserialize_with = "de::duration")]
    pub timeout: Duration,
}

/// `kind: slack` and `kind: teams`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChatConfig {
    /// The webhook's address, which is a secret.
    #[serde(deserialize_with = "de::secret")]
    pub url: Private<String>,
    /// The authorities that the server's certificate must come from.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// An HTTP proxy to go through.
    #[serde(default)]
    pub proxy: Option<String>,
    /// How long one attempt may take.
    #[serde(default = "ten_seconds", deserialize_with = "de::duration")]
    pub timeout: Duration,
    /// The time zone of its readers.
    #[serde(default = "utc", deserialize_with = "zone")]
    pub time_zone: TimeZone,
}

/// Reads `channels:` as validated JSON.
///
/// # Errors
/// When a channel is not as its kind declares.
pub fn read(channels: &serde_json::Value) -> Result<BTreeMap<String, Config>, serde_json::Error> {
    if channels.is_null() {
        return Ok(BTreeMap::new());
    }
    Config::map(channels)
}

impl Config {
    fn map(channels: &serde_json::Value) -> Result<BTreeMap<String, Self>, serde_json::Error> {
        BTreeMap::deserialize(channels)
    }

    /// Returns all that is wrong with the channel beyond its shape: key, message, suggestion.
    #[must_use]
    pub fn check(&self) -> Vec<Wrong> {
        let mut problems = Vec::new();
        match self {
            Self::Log(log) if log.rotate_size < 4_096 => {
                problems.push(wrong("rotate_size", "cannot rotate so small a file", Some("write 1MiB or more")));
            }
            Self::Log(_) => {}
            Self::Email(email) => check_email(email, &mut problems),
            Self::Webhook(webhook) => {
                check_url(webhook.url.expose(), &mut problems);
                check_proxy(webhook.proxy.as_deref(), &mut problems);
                for (name, value) in &webhook.headers {
                    let known =
                        http::HeaderName::try_from(name).is_ok() && http::HeaderValue::try_from(value.expose()).is_ok();
                    if !known || OURS.contains(&name.to_ascii_lowercase().as_str()) {
                        problems.push(wrong(
                            &format!("headers.{name}"),
                            "cannot send this header",
                            Some("remove it, or write a name of letters, digits and dashes that is not ours to set"),
                        ));
                    }
                }
                let token = webhook.bearer_token.as_ref().map(|token| http::HeaderValue::try_from(token.expose()));
                if token.is_some_and(|token| token.is_err()) {
                    problems.push(wrong(
                        "bearer_token",
                        "holds a line break or another character that no header may",
                        Some("write the token alone into the file or variable"),
                    ));
                }
            }
            Self::Slack(chat) | Self::Teams(chat) => {
                check_url(chat.url.expose(), &mut problems);
                check_proxy(chat.proxy.as_deref(), &mut problems);
            }
        }
        problems
    }

    /// Returns the word under `kind`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Log(_) => "log",
            Self::Email(_) => "email",
            Self::Webhook(_) => "webhook",
            Self::Slack(_) => "slack",
            Self::Teams(_) => "teams",
        }
    }

    /// Returns what in it is declared by the operator and not personal to us: hosts, for the redactor.
    #[must_use]
    pub fn declared(&self) -> Vec<String> {
        let url = match self {
            Self::Log(_) => return Vec::new(),
            Self::Email(email) => return vec![host_of(&email.server).to_owned()],
            Self::Webhook(webhook) => webhook.url.expose(),
            Self::Slack(chat) | Self::Teams(chat) => chat.url.expose(),
        };
        url::Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned)).into_iter().collect()
    }
}

/// What is wrong: key, message, suggestion.
pub type Wrong = (String, String, Option<String>);

pub(super) fn wrong(key: &str, message: &str, suggestion: Option<&str>) -> Wrong {
    (key.to_owned(), message.to_owned(), suggestion.map(str::to_owned))
}

/// Headers that are ours to set.
const OURS: [&str; 8] = [
    "host",
    "content-type",
    "content-length",
    "transfer-encoding",
    "connection",
    "dihya-timestamp",
    "dihya-signature",
    "idempotency-key",
];

fn check_email(email: &EmailConfig, problems: &mut Vec<Wrong>) {
    let address = |text: &str| text.parse::<lettre::message::Mailbox>().is_ok();
    if !address(&email.from) {
        problems.push(wrong("from", "expected an e-mail address", Some("write Dihya <dihya@example.org>")));
    }
    if email.to.is_empty() {
        problems.push(wrong("to", "expected at least one e-mail address", Some("write ops@example.org")));
    }
    for (i, _) in email.to.iter().enumerate().filter(|(_, to)| !address(to)) {
        problems.push(wrong(&format!("to.{i}"), "expected an e-mail address", Some("write ops@example.org")));
    }
    if email.reply_to.as_deref().is_some_and(|text| !address(text)) {
        problems.push(wrong("reply_to", "expected an e-mail address", Some("write ops@example.org")));
    }
    if split_address(&email.server).is_none() {
        problems.push(wrong("server", "expected host:port", Some("write smtp.example.org:587")));
    }
    if email.username.is_some() != email.password.is_some() {
        problems.push(wrong("username", "username and password go together", Some("write both, or neither")));
    }
    if email.tls == SmtpTls::None && email.password.is_some() && !is_local(host_of(&email.server)) {
        problems.push(wrong("tls", "cannot send a password in clear to another machine", Some("write tls: required")));
    }
}

fn check_url(text: &str, problems: &mut Vec<Wrong>) {
    let fits = url::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if !fits {
        problems.push(wrong("url", "expected a URL with http or https", Some("write https://HOST/PATH")));
    }
}

fn check_proxy(text: Option<&str>, problems: &mut Vec<Wrong>) {
    let Some(text) = text else { return };
    let fits = url::Url::parse(text).is_ok_and(|url| {
        url.scheme() == "http" && url.has_host() && url.username().is_empty() && url.password().is_none()
    });
    if !fits {
        problems.push(wrong(
            "proxy",
            "expected http://host:port without user and password",
            Some("write http://HOST:3128"),
        ));
    }
}

/// Splits `host:port`, IPv6 addresses in brackets.
pub(super) fn split_address(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Some((host, port.parse().ok()?)).filter(|(host, _)| !host.is_empty())
}

fn host_of(server: &str) -> &str {
    split_address(server).map_or(server, |(host, _)| host)
}

pub(super) fn is_local(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn localhost() -> String {
    "localhost".to_owned()
}

const fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

const fn thirty_seconds() -> Duration {
    Duration::from_secs(30)
}

const fn utc() -> TimeZone {
    TimeZone::UTC
}

fn zone<'de, D: Deserializer<'de>>(deserializer: D) -> Result<TimeZone, D::Error> {
    let name = String::deserialize(deserializer)?;
    TimeZone::get(&name).map_err(|_| serde::de::Error::custom("unknown time zone"))
}

fn secrets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Private<String>>, D::Error> {
    let texts = BTreeMap::<String, String>::deserialize(deserializer)?;
    Ok(texts.into_iter().map(|(name, text)| (name, Private::new(text))).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn channels_are_read_with_their_defaults() {
        let channels = read(&json!({
            "log": {"kind": "log"},
            "mail": {"kind": "email", "server": "smtp.example.org:587", "from": "d@example.org", "to": "a@example.org",
                     "username": "d", "password": "hunter2", "time_zone": "Europe/Paris", "timeout": "5s"},
            "hook": {"kind": "webhook", "url": "https://h.example/x", "headers": {"X-Team": "ops"}, "signing_key": "k"},
            "slack": {"kind": "slack", "url": "https://hooks.slack.com/services/T/B/x"},
            "teams": {"kind": "teams", "url": "https://example.org/w", "proxy": "http://p:3128"},
            "file": {"kind": "log", "path": "x.log", "rotate_size": "1MiB", "rotate_count": 2},
        }))
        .expect("reads");
        for (name, channel) in &channels {
            assert_eq!(channel.check(), [], "{name}");
        }
        assert_eq!(channels["slack"].declared(), ["hooks.slack.com"]);
        assert_eq!(channels["mail"].declared(), ["smtp.example.org"]);
        assert_eq!(channels["hook"].declared(), ["h.example"]);
        assert!(channels["log"].declared().is_empty());
        let kinds: Vec<_> = channels.values().map(Config::kind).collect();
        assert_eq!(kinds, ["log", "webhook", "log", "email", "slack", "teams"]);
        let shown = format!("{channels:?}");
        for secret in ["hunter2", "services/T", "example.org/w"] {
            assert!(!shown.contains(secret), "{secret}");
        }
        assert!(read(&serde_json::Value::Null).expect("reads").is_empty());
    }

    #[test]
    fn what_cannot_work_is_said_by_key() {
        let bad = read(&json!({
            "a": {"kind": "email", "server": "smtp", "from": "x", "to": ["y", "z@example.org"], "username": "u", "reply_to": "?"},
            "b": {"kind": "email", "server": "smtp.example.org:25", "from": "x@y.fr", "to": [], "tls": "none",
                  "username": "u", "password": "p"},
            "c": {"kind": "webhook", "url": "ftp://h", "proxy": "http://u:p@h", "headers": {"Host": "x", "a b": "c"},
                  "bearer_token": "a\nb"},
            "d": {"kind": "teams", "url": "nowhere", "proxy": "socks5://h"},
            "e": {"kind": "log", "rotate_size": 10},
        }))
        .expect("reads");
        let keys: Vec<_> = bad
            .iter()
            .flat_map(|(name, channel)| channel.check().into_iter().map(move |(key, _, _)| format!("{name}.{key}")))
            .collect();
        assert_eq!(
            keys,
            [
                "a.from",
                "a.to.0",
                "a.reply_to",
                "a.server",
                "a.username",
                "b.to",
                "b.tls",
                "c.url",
                "c.proxy",
                "c.headers.Host",
                "c.headers.a b",
                "c.bearer_token",
                "d.url",
                "d.proxy",
                "e.rotate_size"
            ]
        );
        for bad in [
            json!({"x": {"kind": "pigeon"}}),
            json!({"x": {"kind": "log", "colour": "red"}}),
            json!({"x": {"kind": "log", "time_zone": "Mars/Olympus"}}),
            json!({"x": {"kind": "slack", "url": "https://h/", "timeout": "soon"}}),
            json!({"x": {"kind": "log", "rotate_size": "big"}}),
        ] {
            assert!(read(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_are_split_at_the_last_colon() {
        assert_eq!(split_address("[::1]:25"), Some(("::1", 25)));
        assert_eq!(split_address("h:x"), None);
        assert_eq!(split_address(":25"), None);
        assert!(is_local("localhost") && is_local("127.0.0.2") && !is_local("h"));
    }

    #[test]
    fn every_declared_key_is_read() {
        let Ty::Map(Ty::Tagged { variants, .. }) = TY else { unreachable!("it is a map of tagged objects") };
        for (kind, spec) in *variants {
            let sample: serde_json::Map<String, serde_json::Value> = spec
                .fields
                .iter()
                .map(|field| {
                    let value = match field.key {
                        "to" => json!(["a@example.org"]),
                        "headers" => json!({}),
                        "rotate_count" | "max_alerts" => json!(1),
                        "rotate_size" => json!("1MiB"),
                        "timeout" => json!("1s"),
                        "time_zone" => json!("UTC"),
                        "tls" => json!("required"),
                        _ => json!("x"),
                    };
                    (field.key.to_owned(), value)
                })
                .chain([("kind".to_owned(), json!(kind))])
                .collect();
            assert!(read(&json!({"x": sample})).is_ok(), "{kind}");
        }
    }
}
