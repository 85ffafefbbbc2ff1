//! `alerting:` of the configuration: Alertmanager's YAML as a strict subset, typed, with all problems at once.
//!
//! People bring their own file. What this version does not do is refused by name and line, never ignored: a route that
//! silently does less than it says would be worse than one that does not load. Keys of Dihya's own stand under
//! `alerting.dihya` and in `dihya_configs`, nowhere else.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::config::{FieldSpec, Node, Problem, Span, Spec, Ty};

use crate::notification::Language;
use crate::route::{GroupBy, Route};

mod read;
mod tree;

use read::Reader;
pub(crate) use read::nearest;

/// What `alerting:` says.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// After how long an alert from outside that names no end is taken for resolved unless it is sent again.
    pub resolve_timeout: Duration,
    /// The root of the routing tree.
    pub route: Route,
    /// Who is told, by name.
    pub receivers: BTreeMap<String, Receiver>,
    /// What Alertmanager's language has no word for.
    pub dihya: Extras,
}

/// Who is told.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Receiver {
    /// Through what, in order.
    pub integrations: Vec<Integration>,
}

/// One way in which a receiver is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Integration {
    /// The channel's name: declared, or implicit.
    pub channel: String,
    /// Whether it is told when something has stopped.
    pub send_resolved: bool,
    /// The language, where it is not the common one.
    pub language: Option<Language>,
}

/// `alerting.dihya`: what Alertmanager's language has no word for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extras {
    /// After how long an unacknowledged critical incident is told again; `None` for never.
    pub reminder_interval: Option<Duration>,
    /// After how long an undelivered notification is given up.
    pub give_up_after: Duration,
    /// Where people reach this Dihya, without a slash at the end; empty when unknown.
    pub external_url: String,
    /// The language of receivers that name none.
    pub language: Language,
    /// How often channels are tested; `None` for never.
    pub self_test: Option<Duration>,
    /// The channels that are tested even though that disturbs people.
    pub self_test_channels: BTreeSet<String>,
}

impl Default for Extras {
    fn default() -> Self {
        Self {
            reminder_interval: None,
            // Longer than a channel that is down for a day and the night after.
            give_up_after: Duration::from_secs(3 * 86_400),
            external_url: String::new(),
            language: Language::En,
            self_test: Some(Duration::from_secs(86_400)),
            self_test_channels: BTreeSet::new(),
        }
    }
}

impl Default for Config {
    /// Everything goes to the channel `log`, at once.
    fn default() -> Self {
        let integration = Integration { channel: DEFAULT_CHANNEL.to_owned(), send_resolved: true, language: None };
        Self {
            resolve_timeout: RESOLVE_TIMEOUT,
            route: Route {
                id: "{}".to_owned(),
                key: "{}".to_owned(),
                matchers: Vec::new(),
                continues: false,
                receiver: DEFAULT_CHANNEL.to_owned(),
                group_by: GroupBy::All,
                group_wait: Duration::ZERO,
                group_interval: Route::GROUP_INTERVAL,
                repeat_interval: Route::REPEAT_INTERVAL,
                routes: Vec::new(),
            },
            receivers: BTreeMap::from([(DEFAULT_CHANNEL.to_owned(), Receiver { integrations: vec![integration] })]),
            dihya: Extras::default(),
        }
    }
}

/// The channel that is there without being declared.
pub const DEFAULT_CHANNEL: &str = "log";

/// Alertmanager's default.
pub const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// The native receiver configurations that this version has channels for, with Alertmanager's default of
/// `send_resolved`.
pub const NATIVE: [(&str, bool); 4] =
    [("webhook_configs", true), ("email_configs", false), ("slack_configs", false), ("msteamsv2_configs", true)];

/// A channel that a native receiver configuration implies. Its keys are for the channel's own reader to check.
#[derive(Clone, Debug, PartialEq)]
pub struct Implicit {
    /// `<receiver>/<type>/<n>`, such as `team-x/email/0`.
    pub name: String,
    /// The key it stands under: `email_configs` ...
    pub kind: &'static str,
    /// Where it stands, as a dotted path from `alerting`.
    pub path: String,
    /// What stands there, without `send_resolved`.
    pub node: Node,
}

/// What reading `alerting:` gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The channels that it implies.
    pub implicit: Vec<Implicit>,
    /// `alerting.global`, whose `smtp_*`, `slack_*` and `http_config` implicit channels inherit.
    pub global: Option<Node>,
}

/// Why `alerting:` is not in force, and the channels that it implies all the same: what is wrong with those is said at
/// once with the rest.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    /// All problems, in the order of the file.
    pub problems: Vec<Problem>,
    /// The channels that it implies.
    pub implicit: Vec<Implicit>,
    /// `alerting.global`.
    pub global: Option<Node>,
}

/// Reads `alerting:`. `channels` are the names under `channels:`; the channel `log` is always known. Paths in problems
/// begin with `alerting`.
///
/// # Errors
/// All problems, in the order of the file.
pub fn load(alerting: Option<&Node>, channels: &BTreeSet<String>) -> Result<Loaded, Refused> {
    let Some(node) = alerting else {
        return Ok(Loaded { config: Config::default(), implicit: Vec::new(), global: None });
    };
    let mut reader = Reader::default();
    let config = tree::config(&mut reader, node, channels);
    let (mut problems, implicit) = reader.finish();
    let global = node.get("global").cloned();
    match config {
        Some(config) if problems.is_empty() => Ok(Loaded { config, implicit, global }),
        _ => {
            if problems.is_empty() {
                problems.push(Problem {
                    span: node.span,
                    path: "alerting".to_owned(),
                    message: "expected global, route and receivers".to_owned(),
                    suggestion: Some("add `route` and `receivers`".to_owned()),
                });
            }
            problems.sort();
            Err(Refused { problems, implicit, global })
        }
    }
}

/// Finds the line that says `key`, for problems that another reader finds inside an [`Implicit`].
#[must_use]
pub fn span_of(implicit: &Implicit, path: &str) -> Span {
    implicit.node.at(path).map_or(implicit.node.span, |node| node.span)
}

const DAY_MS: u64 = 86_400_000;
const WAIT: Ty = Ty::Duration { min_ms: 0, max_ms: 7 * DAY_MS };
const INTERVAL: Ty = Ty::Duration { min_ms: 1, max_ms: 366 * DAY_MS };

/// The keys of `alerting:`, for the schema and the reference page; [`load`] is what decides.
pub static SPEC: Spec = Spec {
    name: "alerting",
    doc: "Who is told of what: Alertmanager's configuration, as a strict subset.",
    fields: &[
        FieldSpec::optional("global", Ty::Object(&GLOBAL), "", "What holds for all routes and receivers."),
        FieldSpec::required("route", Ty::Object(&ROUTE), "The root of the routing tree."),
        FieldSpec::required("receivers", Ty::List(&Ty::Object(&RECEIVER)), "Who is told."),
        FieldSpec::optional("dihya", Ty::Object(&EXTRAS), "", "What Alertmanager's language has no word for."),
    ],
};

static GLOBAL: Spec = Spec {
    name: "alerting.global",
    doc: "What holds for all routes and receivers; smtp_*, slack_* and http_config go to native receivers.",
    fields: &[
        FieldSpec::optional(
            "resolve_timeout",
            INTERVAL,
            "5m",
            "After how long an alert from outside that names no end is taken for resolved.",
        ),
        FieldSpec::optional("smtp_from", Ty::Text, "", "The sender of e-mail."),
        FieldSpec::optional("smtp_smarthost", Ty::Address, "", "The server that e-mail is handed to."),
        FieldSpec::optional("smtp_hello", Ty::Text, "localhost", "The name that Dihya greets that server with."),
        FieldSpec::optional("smtp_auth_username", Ty::Text, "", "The user at that server."),
        FieldSpec::optional("smtp_auth_password", Ty::Secret, "", "The password of that user."),
        FieldSpec::optional("smtp_auth_password_file", Ty::Path, "", "The file that holds the password."),
        FieldSpec::optional("smtp_require_tls", Ty::Bool, "true", "Whether to refuse a server without TLS."),
        FieldSpec::optional("smtp_tls_config", Ty::Any, "", "`ca_file`: the authorities of that server's certificate."),
        FieldSpec::optional("slack_api_url", Ty::Secret, "", "The webhook of Slack."),
        FieldSpec::optional("slack_api_url_file", Ty::Path, "", "The file that holds the webhook of Slack."),
        FieldSpec::optional("http_config", Ty::Any, "", "How HTTP requests are made; redirects are never followed."),
    ],
};

static ROUTE: Spec = Spec {
    name: "alerting.route",
    doc: "A node of the routing tree; what it does not say it inherits.",
    fields: &[
        FieldSpec::optional("receiver", Ty::Text, "", "Who is told; the root must name one."),
        FieldSpec::optional("group_by", Ty::List(&Ty::Text), "[]", "The labels to group by; ['...'] for all."),
        FieldSpec::optional("group_wait", WAIT, "30s", "How long a new group waits for more alerts."),
        FieldSpec::optional("group_interval", INTERVAL, "5m", "How long a group waits before it tells of changes."),
        FieldSpec::optional("repeat_interval", INTERVAL, "4h", "After how long the same is told again."),
        FieldSpec::optional("matchers", Ty::List(&Ty::Text), "[]", "Conditions on labels, all of which must hold."),
        FieldSpec::optional("match", Ty::Map(&Ty::Text), "", "Labels and their values, in the old way."),
        FieldSpec::optional("match_re", Ty::Map(&Ty::Regex), "", "Labels and expressions, in the old way."),
        FieldSpec::optional("continue", Ty::Bool, "false", "Whether siblings after this route are tried too."),
        FieldSpec::optional("routes", Ty::List(&Ty::Any), "[]", "Routes that refine this one."),
    ],
};

static RECEIVER: Spec = Spec {
    name: "alerting.receivers",
    doc: "Somebody, or something, who is told.",
    fields: &[
        FieldSpec::required("name", Ty::Text, "The name that routes use."),
        FieldSpec::optional("dihya_configs", Ty::List(&Ty::Object(&DIHYA_CONFIG)), "[]", "Channels of `channels:`."),
        FieldSpec::optional("webhook_configs", Ty::List(&Ty::Any), "[]", "As in Alertmanager."),
        FieldSpec::optional("email_configs", Ty::List(&Ty::Any), "[]", "As in Alertmanager."),
        FieldSpec::optional("slack_configs", Ty::List(&Ty::Any), "[]", "As in Alertmanager."),
        FieldSpec::optional("msteamsv2_configs", Ty::List(&Ty::Any), "[]", "As in Alertmanager."),
    ],
};

static DIHYA_CONFIG: Spec = Spec {
    name: "alerting.receivers.dihya_configs",
    doc: "A channel of `channels:` that the receiver is told through.",
    fields: &[
        FieldSpec::required("channel", Ty::Text, "The channel's name."),
        FieldSpec::optional("send_resolved", Ty::Bool, "true", "Whether it is told when something has stopped."),
        FieldSpec::optional("language", Ty::Enum(&["en", "fr"]), "", "The language of the texts."),
    ],
};

static EXTRAS: Spec = Spec {
    name: "alerting.dihya",
    doc: "What Alertmanager's language has no word for.",
    fields: &[
        FieldSpec::optional(
            "reminder_interval",
            INTERVAL,
            "",
            "After how long an unacknowledged critical incident is told again.",
        ),
        FieldSpec::optional("give_up_after", INTERVAL, "3d", "After how long an undelivered notification is given up."),
        FieldSpec::optional("external_url", Ty::Url(&["http", "https"]), "", "Where people reach this Dihya."),
        FieldSpec::optional("language", Ty::Enum(&["en", "fr"]), "en", "The language of receivers that name none."),
        FieldSpec::optional("self_test", Ty::Object(&SELF_TEST), "", "The scheduled test of each channel."),
    ],
};

static SELF_TEST: Spec = Spec {
    name: "alerting.dihya.self_test",
    doc: "The scheduled test of each channel; its failure is an alert through the others.",
    fields: &[
        FieldSpec::optional("interval", INTERVAL, "1d", "How often; 0 for never."),
        FieldSpec::optional(
            "channels",
            Ty::List(&Ty::Text),
            "[]",
            "Channels that disturb people and are sent a test all the same; else e-mail is rehearsed, without a message.",
        ),
    ],
};

#[cfg(test)]
pub(crate) mod tests;
