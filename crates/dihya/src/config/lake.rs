//! `lake:` in `dihya.yaml`: how soon events are in files, and how long they stay there.

use std::time::Duration;

use lake::Retention;
use model::Tenant;
use model::config::{FieldSpec, Spec, Ty};
use model::limits::LAKE_RULES_MAX;
use serde::Deserialize;

use super::spec::Tenants;
use super::suggest::nearest;

const DAY: Duration = Duration::from_secs(86_400);
/// A day to a hundred years.
const KEPT: Ty = Ty::Duration { min_ms: 86_400_000, max_ms: 100 * 365 * 86_400_000 };

const RULE: Spec = Spec {
    name: "lake.streams.*",
    doc: "How long some streams are kept. The first rule that fits a stream decides.",
    fields: &[
        FieldSpec::optional("stream", Ty::Text, "*", "Which streams: a name, in which `*` stands for any characters."),
        FieldSpec::optional("tenant", Ty::Text, "", "Whose streams; all tenants' without it."),
        FieldSpec::required("retention", KEPT, "How long, in whole days after the event was admitted."),
    ],
};

/// What may stand under `lake:`.
pub(crate) static SPEC: Spec = Spec {
    name: "lake",
    doc: "Events in open files, made from the ledger and asked with `dihya search` and `dihya query`.",
    fields: &[
        FieldSpec::optional(
            "retention",
            KEPT,
            "365d",
            "How long events stay, in whole days after they were admitted. Then no byte of them is in data or log; the ledger's payloads go by `ledger.retain`.",
        ),
        FieldSpec::optional("streams", Ty::List(&Ty::Object(&RULE)), "[]", "Streams that are kept longer or shorter."),
        FieldSpec::optional(
            "flush_every",
            Ty::Duration { min_ms: 10_000, max_ms: 60_000 },
            "30s",
            "How long an event waits in memory for its file at most; it can be asked for meanwhile. Each time is a file or two.",
        ),
    ],
};

/// `lake:` as read.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LakeConfig {
    #[serde(deserialize_with = "model::config::de::duration")]
    retention: Duration,
    streams: Vec<RuleConfig>,
    /// How long an event waits for its file, at most.
    #[serde(deserialize_with = "model::config::de::duration")]
    pub(crate) flush_every: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleConfig {
    #[serde(default = "all")]
    stream: String,
    #[serde(default)]
    tenant: Option<String>,
    #[serde(deserialize_with = "model::config::de::duration")]
    retention: Duration,
}

fn all() -> String {
    "*".to_owned()
}

impl Default for LakeConfig {
    fn default() -> Self {
        Self { retention: 365 * DAY, streams: Vec::new(), flush_every: Duration::from_secs(30) }
    }
}

/// A dotted path below `lake`, what is wrong there, and what to write instead.
type Wrong = (String, String, Option<String>);

impl LakeConfig {
    /// Finds what the tables cannot express.
    pub(crate) fn check(&self, tenants: &Tenants) -> Vec<Wrong> {
        let mut wrong: Vec<Wrong> = whole_days("retention", self.retention).into_iter().collect();
        if self.streams.len() > LAKE_RULES_MAX {
            wrong.push(("streams".to_owned(), format!("expected at most {LAKE_RULES_MAX} rules"), None));
        }
        for (at, rule) in self.streams.iter().enumerate() {
            wrong.extend(whole_days(&format!("streams.{at}.retention"), rule.retention));
            if rule.stream.is_empty() {
                let why = "expected the name of a stream, or a pattern such as web-*".to_owned();
                wrong.push((format!("streams.{at}.stream"), why, Some("write \"*\" for all".to_owned())));
            }
            if let Some(tenant) = &rule.tenant
                && !tenants.keys().any(|known| known.as_str() == tenant)
            {
                let near = nearest(tenant, tenants.keys().map(Tenant::as_str));
                let suggestion = near.map(|near| format!("did you mean {near}?"));
                let why = format!("there is no tenant {tenant}; declare it under tenants");
                wrong.push((format!("streams.{at}.tenant"), why, suggestion));
            }
            if let Some(before) = self.streams.iter().take(at).position(|before| before.hides(rule)) {
                let why = format!("the rule is never asked: streams.{before} fits all that it fits");
                wrong.push((format!("streams.{at}"), why, Some("move it before that one, or remove it".to_owned())));
            }
        }
        wrong
    }

    /// Returns how long rows are kept.
    pub(crate) fn retention(&self) -> Retention {
        let rule = |retention: Retention, rule: &RuleConfig| {
            let tenant = rule.tenant.as_ref().and_then(|name| Tenant::new(name).ok());
            retention.rule(tenant, &rule.stream, days(rule.retention))
        };
        self.streams.iter().fold(Retention::new(days(self.retention)), rule)
    }
}

impl RuleConfig {
    /// Tells whether no stream is left to a later rule, as far as that is plain.
    fn hides(&self, later: &Self) -> bool {
        (self.tenant.is_none() || self.tenant == later.tenant)
            && (self.stream == later.stream || self.stream.bytes().all(|byte| byte == b'*') && !self.stream.is_empty())
    }
}

fn days(time: Duration) -> u32 {
    u32::try_from(time.as_secs().div_ceil(DAY.as_secs())).unwrap_or(u32::MAX)
}

fn whole_days(path: &str, time: Duration) -> Option<Wrong> {
    let rounded = DAY * days(time);
    (rounded != time).then(|| {
        let why = "expected whole days: a day's events go together".to_owned();
        (path.to_owned(), why, Some(format!("write {}d", days(rounded))))
    })
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn read(yaml: &str) -> Result<LakeConfig, String> {
        let read = super::super::tests::read_text(&format!("tenants: {{clinic: {{}}}}\n{yaml}\n"));
        read.map(|loaded| loaded.lake).map_err(|problems| problems.join("\n"))
    }

    #[test]
    fn what_is_left_out_is_a_year_for_all() {
        let default = read("lake:").expect("is good");
        assert_eq!((default.retention(), default.flush_every), (Retention::default(), Duration::from_secs(30)));
        let said = read(
            "lake: {retention: 4w, flush_every: 10s, streams: [{stream: audit, tenant: clinic, retention: 10y}, \
             {stream: 'web-*', retention: 7d}, {tenant: clinic, retention: 90d}]}",
        );
        let clinic = Tenant::new("clinic").ok();
        let expected =
            Retention::new(28).rule(clinic.clone(), "audit", 3_650).rule(None, "web-*", 7).rule(clinic, "*", 90);
        assert_eq!(said.expect("is good").retention(), expected);
    }

    #[test]
    fn all_that_is_wrong_has_its_place() {
        let problems = read(
            "lake:\n  retention: 36h\n  flush_every: 1s\n  stream: []\n  streams:\n    - {stream: 'web-*', retention: 12h}\n    \
             - {stream: '', tenant: clinc, retention: 60h}\n    - {retention: 7d}\n    - {stream: audit, retention: 10y}\n    \
             - {stream: audit}\n",
        );
        expect![[r#"
            3:14: lake.retention: expected whole days: a day's events go together (write 2d)
            4:16: lake.flush_every: expected a duration such as 30s, from 10s to 1m, found `1s`: it is out of bounds (write 10s)
            5:3: lake.stream: unknown key, expected retention, streams or flush_every (did you mean streams?)
            7:36: lake.streams.0.retention: expected a duration such as 30s, from 1d to 36500d, found `12h`: it is out of bounds (write 1d)
            8:16: lake.streams.1.stream: expected the name of a stream, or a pattern such as web-* (write "*" for all)
            8:28: lake.streams.1.tenant: there is no tenant clinc; declare it under tenants (did you mean clinic?)
            8:46: lake.streams.1.retention: expected whole days: a day's events go together (write 3d)
            10:7: lake.streams.3: the rule is never asked: streams.2 fits all that it fits (move it before that one, or remove it)
            11:7: lake.streams.4.retention: the key retention is missing, expected a duration such as 30s, from 1d to 36500d (add `retention: 1d`)"#]].assert_eq(&problems.expect_err("is wrong"));
        let problems = read(
            "lake:\n  retention: 36h\n  streams:\n    - {stream: '', tenant: clinc, retention: 60h}\n    - {retention: 7d}\n    \
             - {stream: audit, retention: 10y}\n",
        );
        expect![[r#"
            3:14: lake.retention: expected whole days: a day's events go together (write 2d)
            5:16: lake.streams.0.stream: expected the name of a stream, or a pattern such as web-* (write "*" for all)
            5:28: lake.streams.0.tenant: there is no tenant clinc; declare it under tenants (did you mean clinic?)
            5:46: lake.streams.0.retention: expected whole days: a day's events go together (write 3d)
            7:7: lake.streams.2: the rule is never asked: streams.1 fits all that it fits (move it before that one, or remove it)"#]]
        .assert_eq(&problems.expect_err("is wrong"));
    }
}
