//! The top of `dihya.yaml`: the parts of the crates, and those that belong to no crate.

use std::collections::BTreeMap;

use model::Tenant;
use model::config::{FieldSpec, Node, Problem, Span, Spec, Tree, Ty};
use serde::Deserialize;

use super::lake;

/// The instance of a configuration that names none.
pub(crate) const INSTANCE_DEFAULT: &str = "localhost";

/// The whole file.
pub(crate) static ROOT: Spec = Spec {
    name: "dihya.yaml",
    doc: "The whole file. Every part may be left out.",
    fields: &[
        FieldSpec::optional("server", Ty::Object(&server::config::SPEC), "", "Where Dihya answers."),
        FieldSpec::optional("sources", Ty::Object(&intake::sources::SPEC), "", "What Dihya itself fetches."),
        FieldSpec::optional("tenants", Ty::Map(&Ty::Object(&TENANT)), "", "Organisations whose data never mixes."),
        FieldSpec::optional("checks", probe::config::TY, "", "What is watched."),
        FieldSpec::optional("maintenance", probe::maintenance::TY, "", "When failures are expected."),
        FieldSpec::optional(
            "channels",
            alert::channel::config::TY,
            "",
            "Ways to tell people and machines; `log` is always there.",
        ),
        FieldSpec::optional("alerting", Ty::Object(&alert::config::SPEC), "", "Who is told of what."),
        FieldSpec::optional("privacy", Ty::Object(&privacy::config::SPEC), "", "What is done about personal values."),
        FieldSpec::optional("ledger", Ty::Object(&LEDGER), "", "What is recorded, under which name, and for how long."),
        FieldSpec::optional("lake", Ty::Object(&lake::SPEC), "", "Events in files: how soon, and for how long."),
        FieldSpec::optional(
            "outputs",
            export::config::TY,
            "",
            "Who else is handed events: files, Elasticsearch, Logstash.",
        ),
    ],
};

/// Parts that a later version brings: refused by name, so that nobody believes them to work.
const LATER: [(&str, &str); 2] =
    [("detection", "detection comes with a later version"), ("hooks", "hooks come with a later version")];

static TENANT: Spec = Spec {
    name: "tenant",
    doc: "An organisation whose data never mixes with another's. The tenant `default` is always there.",
    fields: &[FieldSpec::optional(
        "public",
        Ty::Bool,
        "false",
        "Whether anybody may read its log's tiles and checkpoints at /ledger/<instance>/<tenant>/.",
    )],
};

static LEDGER: Spec = Spec {
    name: "ledger",
    doc: "The transparency log: one per tenant, named `<instance>/<tenant>`.",
    fields: &[
        FieldSpec::optional(
            "instance",
            Ty::Text,
            INSTANCE_DEFAULT,
            "The name of this Dihya in the names of its logs, such as `monitor.example.org`; never change it later.",
        ),
        FieldSpec::optional(
            "retain",
            Ty::Duration { min_ms: 60_000, max_ms: 100 * 365 * 86_400_000 },
            "7d",
            "How long payloads stay at least; entries and proofs stay for ever.",
        ),
        FieldSpec::optional(
            "retain_bytes",
            Ty::Size,
            "5GiB",
            "How many bytes of payloads stay at most, older ones go first.",
        ),
    ],
};

/// What a tenant may.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TenantConfig {
    /// Whether anybody may read its log.
    pub(crate) public: bool,
}

/// `ledger:`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LedgerConfig {
    /// The name of this Dihya in the names of its logs.
    pub(crate) instance: String,
    /// How long payloads stay at least.
    #[serde(deserialize_with = "model::config::de::duration")]
    pub(crate) retain: std::time::Duration,
    /// How many bytes of payloads stay at most.
    #[serde(deserialize_with = "model::config::de::size")]
    pub(crate) retain_bytes: u64,
}

impl Default for LedgerConfig {
    fn default() -> Self {
        Self {
            instance: INSTANCE_DEFAULT.to_owned(),
            retain: std::time::Duration::from_secs(7 * 86_400),
            retain_bytes: 5 << 30,
        }
    }
}

/// The tenants by name; `default` is always there.
pub(crate) type Tenants = BTreeMap<Tenant, TenantConfig>;

/// Takes the parts of later versions out of `root` and says so.
pub(crate) fn refuse_later(root: &mut Node, problems: &mut Vec<Problem>) {
    let Tree::Map(entries) = &mut root.tree else { return };
    entries.retain(|(key, span, _)| {
        let Some((_, why)) = LATER.iter().find(|(later, _)| later == key) else { return true };
        problems.push(problem(*span, key, format!("{key} is not supported yet: {why}"), Some("remove the key")));
        false
    });
}

/// Reads the tenants and checks their names.
pub(crate) fn tenants(root: &Node, json: &serde_json::Value, problems: &mut Vec<Problem>) -> Tenants {
    let mut tenants = Tenants::from([(Tenant::default(), TenantConfig::default())]);
    let Some(Tree::Map(entries)) = root.get("tenants").map(|node| &node.tree) else { return tenants };
    for (name, span, _) in entries {
        match Tenant::new(name) {
            Ok(tenant) if name != "meta" => {
                let config = json.get(name).cloned().unwrap_or_default();
                tenants.insert(tenant, serde_json::from_value(config).unwrap_or_default());
            }
            Ok(_) => {
                problems.push(problem(*span, &format!("tenants.{name}"), "meta is the name of the meta-log", None))
            }
            Err(error) => problems.push(problem(*span, &format!("tenants.{name}"), error.to_string(), None)),
        }
    }
    if tenants.len() > model::limits::TENANTS_MAX {
        let message = format!("more than {} tenants", model::limits::TENANTS_MAX);
        problems.push(problem(root.span, "tenants", message, None));
    }
    tenants
}

pub(crate) fn problem(span: Span, path: &str, message: impl Into<String>, suggestion: Option<&str>) -> Problem {
    Problem { span, path: path.to_owned(), message: message.into(), suggestion: suggestion.map(str::to_owned) }
}
