//! The part `checks:` of the configuration: its tables, its typed form, and what only this crate can check.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use model::config::{FieldSpec, Spec, Ty};
use model::limits::{
    CHECK_INTERVAL_MIN, CHECK_TIMEOUT_MAX, CHECKS_MAX, CONDITION_BYTES_MAX, LABELS_MAX, NAME_BYTES_MAX,
};
use model::{Labels, Sector, Severity, Tenant};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};

use crate::condition::{Conditions, cut};
use crate::kind::{self, Kind, Probe};
use crate::maintenance::{self, Windows};
use crate::track::Thresholds;

const INTERVAL_MIN_MS: u64 = CHECK_INTERVAL_MIN.as_secs() * 1_000;
const INTERVAL_MAX_MS: u64 = 366 * 86_400_000;
const TIMEOUT_MAX_MS: u64 = CHECK_TIMEOUT_MAX.as_secs() * 1_000;
const INTERVAL_DEFAULT: Duration = Duration::from_secs(60);
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// A check that fails for the first time is looked at again after a quarter of its interval, within these bounds.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(15);
const THRESHOLD_MAX: i64 = 100;
const _: () = assert!(CONDITION_BYTES_MAX <= u16::MAX as usize, "a condition fits a record");

/// What `checks:` holds: checks by id.
pub const TY: Ty = Ty::Map(&CHECK);

static CHECK: Ty = Ty::Tagged { tag: "kind", common: &COMMON, variants: kind::VARIANTS };

static COMMON: Spec = Spec {
    name: "check",
    doc: "One watched thing.",
    fields: &[
        FieldSpec::optional("name", Ty::Text, "", "Name that people read; the id where it is left out."),
        FieldSpec::optional("description", Ty::Text, "", "What it is for, or what to do when it fails."),
        FieldSpec::optional("enabled", Ty::Bool, "true", "Whether it runs."),
        FieldSpec::optional("tenant", Ty::Text, "default", "Whose it is."),
        FieldSpec::optional("group", Ty::Text, "", "Heading that it is shown under on the status page."),
        FieldSpec::optional(
            "sector",
            Ty::Enum(&[
                "health",
                "santé",
                "sante",
                "education",
                "éducation",
                "ecommerce",
                "e-commerce",
                "commerce",
                "none",
            ]),
            "none",
            "Sector that it concerns.",
        ),
        FieldSpec::optional(
            "severity",
            Ty::Enum(&["info", "warning", "error", "critical"]),
            "critical",
            "How bad it is when it is down; degraded is a warning at most.",
        ),
        FieldSpec::optional("labels", Ty::Map(&Ty::Text), "", "Further labels of its alerts."),
        FieldSpec::optional(
            "interval",
            Ty::Duration { min_ms: INTERVAL_MIN_MS, max_ms: INTERVAL_MAX_MS },
            "1m",
            "How often it runs; of a heartbeat, how often a sign of life is due.",
        ),
        FieldSpec::optional(
            "timeout",
            Ty::Duration { min_ms: 1, max_ms: TIMEOUT_MAX_MS },
            "10s",
            "How long one run may take: at most the interval.",
        ),
        FieldSpec::optional(
            "retry_interval",
            Ty::Duration { min_ms: 100, max_ms: INTERVAL_MAX_MS },
            "",
            "When to look again while a failure is not confirmed; a quarter of the interval, from 1s to 15s.",
        ),
        FieldSpec::optional(
            "failure_threshold",
            Ty::Int { min: 1, max: THRESHOLD_MAX },
            "2",
            "Consecutive failures that make it leave a better state; 1 for kinds that measure instead of ask.",
        ),
        FieldSpec::optional(
            "success_threshold",
            Ty::Int { min: 1, max: THRESHOLD_MAX },
            "1",
            "Consecutive successes that make it leave a worse state.",
        ),
        FieldSpec::optional("conditions", Ty::OneOrMore(&Ty::Cel), "", "What must hold for it to be up."),
        FieldSpec::optional("degraded_if", Ty::OneOrMore(&Ty::Cel), "", "What makes it degraded while it is up."),
        FieldSpec::optional(
            "depends_on",
            Ty::OneOrMore(&Ty::Text),
            "",
            "Checks whose failure explains its own: it still runs, but nobody is told apart from them.",
        ),
    ],
};

/// One watched thing, ready to run.
pub struct Check {
    /// Identifies it: the key it is declared under.
    pub id: Arc<str>,
    /// Whose it is.
    pub tenant: Tenant,
    /// Name that people read.
    pub name: String,
    /// What it is for, or what to do when it fails.
    pub description: String,
    /// Heading on the status page.
    pub group: String,
    /// Sector that it concerns.
    pub sector: Sector,
    /// How bad it is when it is down.
    pub severity: Severity,
    /// Further labels of its alerts.
    pub labels: Labels,
    /// What it is.
    pub kind: &'static Kind,
    /// What looks.
    pub probe: Arc<dyn Probe>,
    /// What must hold.
    pub conditions: Arc<Conditions>,
    /// How often it runs.
    pub interval: Duration,
    /// How long one run may take.
    pub timeout: Duration,
    /// When to look again while a failure is not confirmed.
    pub retry_interval: Duration,
    /// How many results it takes.
    pub thresholds: Thresholds,
    /// Checks whose failure explains its own.
    pub depends_on: Vec<String>,
    /// Hash of how it was declared: what tells a changed check from an unchanged one.
    pub(crate) declared: [u8; 32],
}

impl std::fmt::Debug for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the probe: it holds secrets.
        f.debug_struct("Check").field("id", &self.id).field("kind", &self.kind.name).finish_non_exhaustive()
    }
}

impl Check {
    /// Returns how often the scheduler looks: the interval, except for kinds that only look at what they were sent.
    #[must_use]
    pub fn cadence(&self) -> Duration {
        self.probe.cadence().unwrap_or(self.interval)
    }

    /// Returns the name under which a heartbeat's job gives signs of life; `None` for other kinds.
    #[must_use]
    pub fn heartbeat(&self) -> Option<&str> {
        self.probe.heartbeat().map(|name| if name.is_empty() { &*self.id } else { name })
    }

    /// Tells whether a running server alone can look.
    #[must_use]
    pub fn needs_server(&self) -> bool {
        self.probe.needs_server()
    }
}

/// The parts `checks:` and `maintenance:`, typed.
#[derive(Debug, Default)]
pub struct Config {
    /// The checks that are enabled, ascending by id.
    pub checks: Vec<Arc<Check>>,
    /// The maintenance windows.
    pub windows: Windows,
}

impl Config {
    /// Reads `checks:` and `maintenance:` as `dihya/config` hands them over: held against the tables, secrets resolved.
    /// Pure: opens nothing.
    ///
    /// # Errors
    /// All problems at once, each with its dotted path.
    pub fn read(checks: &Json, maintenance: &Json) -> Result<Self, Vec<Issue>> {
        let mut issues = Vec::new();
        let mut config = Self::default();
        let mut ids = HashSet::new();
        let mut compiled = Compiled::default();
        let declared = || checks.as_object().into_iter().flatten();
        let is_off = |(_, json): &(&String, &Json)| json.get("enabled").and_then(Json::as_bool) == Some(false);
        let off: HashSet<&str> = declared().filter(is_off).map(|(id, _)| id.as_str()).collect();
        let mut edges = Vec::new();
        for (id, json) in declared() {
            ids.insert(id.as_str());
            let mut found = Vec::new();
            let json = without_disabled(json, &off).unwrap_or_else(|issue| {
                found.push(issue);
                Cow::Borrowed(json)
            });
            let json = guarded(json);
            if !off.contains(id.as_str()) {
                edges.push(Edges::of(id, &json));
            }
            match read_check(id, &json, &mut compiled) {
                Ok(Some(check)) if found.is_empty() => config.checks.push(Arc::new(check)),
                Ok(_) => {}
                Err(more) => found.extend(more),
            }
            issues.extend(found.into_iter().map(|issue| issue.below(&format!("checks.{id}"))));
        }
        if ids.len() > CHECKS_MAX {
            issues.push(Issue::new("checks", format!("at most {CHECKS_MAX} checks")));
        }
        config.checks.sort_by(|a, b| a.id.cmp(&b.id));
        match Windows::read(maintenance) {
            Ok(windows) => config.windows = windows,
            Err(found) => issues.extend(found),
        }
        // From the file: a window or a check that has problems of its own names others all the same.
        for (path, name) in maintenance::named(maintenance) {
            if !ids.contains(name) {
                issues.push(unknown_check(path, name, &ids));
            }
        }
        issues.extend(check_edges(&edges, &ids));
        if issues.is_empty() { Ok(config) } else { Err(issues) }
    }

    /// Returns the checks whose failure explains that of `id`.
    #[must_use]
    pub fn parents_of(&self, id: &str) -> &[String] {
        match self.checks.binary_search_by(|check| (*check.id).cmp(id)) {
            Ok(at) => self.checks.get(at).map_or(&[], |check| &check.depends_on),
            Err(_) => &[],
        }
    }

    /// Returns the maintenance window that covers `id` at `now`, if one does.
    #[must_use]
    pub fn in_maintenance(&self, id: &str, now: model::Timestamp) -> Option<&maintenance::Window> {
        self.windows.covering(id, now)
    }
}

/// Checks `checks:` and `maintenance:` without keeping anything: as [`Config::read`], for `dihya config check`.
#[must_use]
pub fn check(checks: &Json, maintenance: &Json) -> Vec<Issue> {
    Config::read(checks, maintenance).err().unwrap_or_default()
}

#[derive(Deserialize)]
struct Common {
    kind: Option<String>,
    name: Option<String>,
    #[serde(default)]
    description: String,
    enabled: Option<bool>,
    tenant: Option<String>,
    #[serde(default)]
    group: String,
    sector: Option<String>,
    severity: Option<String>,
    #[serde(default)]
    labels: Labels,
    #[serde(default, deserialize_with = "model::config::de::duration_opt")]
    interval: Option<Duration>,
    #[serde(default, deserialize_with = "model::config::de::duration_opt")]
    timeout: Option<Duration>,
    #[serde(default, deserialize_with = "model::config::de::duration_opt")]
    retry_interval: Option<Duration>,
    failure_threshold: Option<u32>,
    success_threshold: Option<u32>,
    #[serde(default, deserialize_with = "model::config::de::one_or_more_opt")]
    conditions: Option<Vec<String>>,
    #[serde(default, deserialize_with = "model::config::de::one_or_more_opt")]
    degraded_if: Option<Vec<String>>,
    #[serde(default, deserialize_with = "model::config::de::one_or_more_opt")]
    depends_on: Option<Vec<String>>,
}

/// Conditions compiled so far: ten thousand checks that say the same share them.
#[derive(Default)]
struct Compiled(HashMap<ConditionsKey, Arc<Conditions>>);

/// Kind, conditions, and those of `degraded_if`.
type ConditionsKey = (&'static str, Vec<String>, Vec<String>);

impl Compiled {
    fn get(
        &mut self,
        kind: &'static Kind,
        conditions: Vec<String>,
        degraded_if: Vec<String>,
    ) -> Result<Arc<Conditions>, Vec<Issue>> {
        let key = (kind.name, conditions, degraded_if);
        if let Some(found) = self.0.get(&key) {
            return Ok(Arc::clone(found));
        }
        let made = Arc::new(Conditions::compile(&key.1, &key.2, kind.facts)?);
        self.0.insert(key, Arc::clone(&made));
        Ok(made)
    }
}

/// Puts the address filter over checks of tenants: they may not look into the operator's network unless the operator
/// says so.
fn guarded(mut json: Cow<'_, Json>) -> Cow<'_, Json> {
    let tenant = json.get("tenant").and_then(Json::as_str).and_then(|name| Tenant::new(name).ok());
    if tenant.is_some_and(|tenant| tenant != Tenant::default()) && json.get("deny_private").is_none() {
        json.to_mut()["deny_private"] = true.into();
    }
    json
}

/// Takes the members that are disabled out of a group: nobody looks at them, so it would wait for them for ever.
fn without_disabled<'a>(json: &'a Json, off: &HashSet<&str>) -> Result<Cow<'a, Json>, Issue> {
    let is_group = json.get("kind").and_then(Json::as_str).is_some_and(|kind| kind.eq_ignore_ascii_case("group"));
    let members = json.get("members").and_then(Json::as_array).filter(|_| is_group);
    let is_off = |member: &Json| member.as_str().is_some_and(|id| off.contains(id));
    let Some(members) = members.filter(|members| members.iter().any(is_off)) else { return Ok(Cow::Borrowed(json)) };
    let left: Vec<Json> = members.iter().filter(|member| !is_off(member)).cloned().collect();
    let is_itself_off = json.get("enabled").and_then(Json::as_bool) == Some(false);
    if left.is_empty() && !is_itself_off {
        return Err(Issue::new("members", "all of them are disabled").suggest("disable the group too"));
    }
    let mut json = json.clone();
    if let Some(least) = json.get("at_least").and_then(Json::as_u64).filter(|_| !left.is_empty()) {
        json["at_least"] = least.min(left.len() as u64).into();
    }
    if !left.is_empty() {
        json["members"] = left.into();
    }
    Ok(Cow::Owned(json))
}

fn read_check(id: &str, json: &Json, compiled: &mut Compiled) -> Result<Option<Check>, Vec<Issue>> {
    let common: Common = read(json)?;
    let mut issues = check_common(id, &common);
    let Some(kind) = common.kind.as_ref().and_then(|kind| kind::find(&kind.to_ascii_lowercase())) else {
        issues.push(Issue::new("kind", "unknown kind").suggest("write http, tcp or another that the reference lists"));
        // Which facts there are is not known, but what is no expression is none for any kind.
        let written = |texts: &Option<Vec<String>>| texts.clone().unwrap_or_default();
        issues.extend(Conditions::parse(&written(&common.conditions), &written(&common.degraded_if)));
        return Err(issues);
    };
    let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let conditions = common.conditions.unwrap_or_else(|| own(kind.defaults.conditions));
    let degraded_if = common.degraded_if.unwrap_or_else(|| own(kind.defaults.degraded_if));
    let conditions = compiled.get(kind, conditions, degraded_if).unwrap_or_else(|found| {
        issues.extend(found);
        Arc::default()
    });
    let probe = (kind.build)(json).map_err(|found| issues.extend(found)).ok();
    let interval = common.interval.unwrap_or(INTERVAL_DEFAULT);
    let cadence = probe.as_ref().and_then(|probe| probe.cadence()).unwrap_or(interval);
    let timeout = common.timeout.unwrap_or_else(|| TIMEOUT_DEFAULT.min(cadence));
    if timeout > cadence {
        let issue = Issue::new("timeout", "longer than the interval, so that runs would be skipped");
        issues.push(issue.suggest("make it as long as the interval at most").rests_on("interval"));
    }
    let (Some(probe), true) = (probe, issues.is_empty()) else { return Err(issues) };
    let retry = (cadence / 4).clamp(RETRY_MIN, RETRY_MAX).min(cadence);
    Ok(common.enabled.unwrap_or(true).then(|| Check {
        id: id.into(),
        tenant: common.tenant.and_then(|name| Tenant::new(&name).ok()).unwrap_or_default(),
        name: common.name.unwrap_or_else(|| id.to_owned()),
        description: common.description,
        group: common.group,
        sector: common.sector.and_then(|sector| sector.parse().ok()).unwrap_or_default(),
        severity: common.severity.and_then(|severity| severity.parse().ok()).unwrap_or(Severity::Critical),
        labels: common.labels,
        kind,
        probe,
        conditions,
        interval,
        timeout,
        retry_interval: common.retry_interval.unwrap_or(retry).min(cadence),
        thresholds: Thresholds {
            failure: common.failure_threshold.unwrap_or(kind.defaults.failure_threshold).max(1),
            success: common.success_threshold.unwrap_or(1).max(1),
        },
        depends_on: common.depends_on.unwrap_or_default(),
        declared: Sha256::digest(json.to_string()).into(),
    }))
}

fn check_common(id: &str, common: &Common) -> Vec<Issue> {
    let mut issues = Vec::new();
    let sound = |c: char| c.is_alphanumeric() || "._-".contains(c);
    if id.is_empty() || id.len() > NAME_BYTES_MAX || !id.chars().all(sound) {
        let what = format!("an id has letters, digits, `.`, `_` and `-`, at most {NAME_BYTES_MAX} bytes");
        let fitting: String = id.chars().map(|c| if sound(c) { c } else { '-' }).take(32).collect();
        issues.push(Issue::new("", what).suggest(format!("write {}", if id.is_empty() { "a-name" } else { &fitting })));
    }
    if common.name.as_ref().is_some_and(|name| name.is_empty() || name.len() > NAME_BYTES_MAX) {
        issues.push(Issue::new("name", format!("expected 1 to {NAME_BYTES_MAX} bytes")));
    }
    if common.tenant.as_ref().is_some_and(|name| Tenant::new(name).is_err()) {
        issues
            .push(Issue::new("tenant", "not a tenant's name").suggest("write small letters, digits, dots and dashes"));
    }
    if common.sector.as_ref().is_some_and(|sector| sector.parse::<Sector>().is_err()) {
        issues.push(Issue::new("sector", "expected health, education, ecommerce or none"));
    }
    if common.severity.as_ref().is_some_and(|severity| severity.parse::<Severity>().is_err()) {
        issues.push(Issue::new("severity", "expected info, warning, error or critical"));
    }
    if common.labels.len() > LABELS_MAX {
        issues.push(Issue::new("labels", format!("at most {LABELS_MAX} labels")));
    }
    for label in common.labels.keys().filter(|label| !model::label::is_label_name(label)) {
        let fitting: String = label.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let issue = Issue::new(format!("labels.{label}"), "a label's name has letters, digits and `_`");
        issues.push(match model::label::is_label_name(&fitting) {
            true => issue.suggest(format!("write {fitting}")),
            false => issue.suggest(format!("write label_{fitting}")),
        });
    }
    if common.interval.is_some_and(|interval| interval < CHECK_INTERVAL_MIN) {
        issues.push(Issue::new("interval", "expected at least 1s"));
    }
    if common.timeout.is_some_and(|timeout| timeout.is_zero() || timeout > CHECK_TIMEOUT_MAX) {
        issues.push(Issue::new("timeout", "expected more than nothing and at most 5m"));
    }
    issues
}

/// What a check names of others, whatever else is wrong with it.
struct Edges<'a> {
    id: &'a str,
    /// The key and the place in its list, and the name.
    named: Vec<(String, String)>,
}

impl<'a> Edges<'a> {
    fn of(id: &'a str, json: &Json) -> Self {
        let is_group = json.get("kind").and_then(Json::as_str).is_some_and(|kind| kind.eq_ignore_ascii_case("group"));
        let keys = ["depends_on", "members"].into_iter().filter(|key| is_group || *key != "members");
        let named =
            keys.flat_map(|key| texts(json.get(key)).map(move |(at, name)| (format!("{key}.{at}"), name.to_owned())));
        Self { id, named: named.collect() }
    }
}

/// Yields the texts of a key that holds one or several, with their places.
pub(crate) fn texts(json: Option<&Json>) -> impl Iterator<Item = (usize, &str)> {
    let items = match json {
        Some(Json::Array(items)) => items.as_slice(),
        Some(one) => std::slice::from_ref(one),
        None => &[],
    };
    items.iter().enumerate().filter_map(|(at, item)| Some((at, item.as_str()?)))
}

/// Checks that what `depends_on` and groups name is there, and that nothing waits for itself.
fn check_edges(checks: &[Edges<'_>], ids: &HashSet<&str>) -> Vec<Issue> {
    let mut issues = Vec::new();
    let mut edges: HashMap<&str, Vec<&str>> = HashMap::new();
    for check in checks {
        for (key, name) in &check.named {
            if ids.contains(name.as_str()) {
                edges.entry(check.id).or_default().push(name);
            } else {
                issues.push(unknown_check(format!("checks.{}.{key}", check.id), name, ids));
            }
        }
    }
    let mut done: BTreeMap<&str, bool> = BTreeMap::new();
    for check in checks {
        // Depth first with an explicit stack: the graph is the operator's, and may be deep.
        let mut stack = vec![(check.id, false)];
        while let Some((id, leave)) = stack.pop() {
            if leave {
                done.insert(id, true);
                continue;
            }
            match done.get(id) {
                Some(true) => {}
                Some(false) => {
                    let issue = Issue::new(format!("checks.{id}"), "depends on itself, through what it depends on");
                    issues.push(issue.suggest("take one of them out of depends_on or members"));
                    return issues;
                }
                None => {
                    done.insert(id, false);
                    stack.push((id, true));
                    stack.extend(edges.get(id).into_iter().flatten().map(|next| (*next, false)));
                }
            }
        }
    }
    issues
}

fn unknown_check(path: String, name: &str, ids: &HashSet<&str>) -> Issue {
    /// How many of the checks there are are told, where none is near.
    const TOLD_MAX: usize = 8;
    let issue = Issue::new(path, format!("there is no check {}", cut(name, NAME_BYTES_MAX)));
    let budget = (name.chars().count() / 3).clamp(2, 3);
    let mut near: Vec<_> = ids.iter().map(|id| (distance(name, id), *id)).filter(|(far, _)| *far <= budget).collect();
    near.sort_unstable();
    if let Some((least, _)) = near.first().copied() {
        let nearest: Vec<_> = near.iter().take_while(|(far, _)| *far == least).map(|(_, id)| *id).take(3).collect();
        return issue.suggest(format!("did you mean {}?", nearest.join(" or ")));
    }
    let mut known: Vec<_> = ids.iter().copied().collect();
    known.sort_unstable();
    let more = known.len().saturating_sub(TOLD_MAX);
    known.truncate(TOLD_MAX);
    match (known.is_empty(), more) {
        (true, _) => issue.suggest("declare it under checks"),
        (false, 0) => issue.suggest(format!("there are {}", known.join(", "))),
        (false, more) => issue.suggest(format!("there are {} and {more} more", known.join(", "))),
    }
}

/// Levenshtein's distance in characters (Wagner and Fischer 1974).
pub(crate) fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (y, cell) in b.iter().zip(row.iter_mut().skip(1)) {
            let cost = diagonal + usize::from(x != *y);
            diagonal = *cell;
            left = cost.min(left + 1).min(*cell + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

/// One thing wrong with a check, at a dotted path below it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Issue {
    /// The dotted path: of a key of the check while a kind reads it, from `checks.` on in what [`check`] returns.
    pub path: String,
    /// What is wrong and what was expected.
    pub message: String,
    /// What to write instead, where that can be guessed.
    pub suggestion: Option<String>,
    /// The path of another key that the issue rests on: there is none where that could not be read.
    pub rests_on: Option<String>,
}

impl Issue {
    /// Makes an issue without a suggestion.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into(), suggestion: None, rests_on: None }
    }

    /// Says what other key the issue rests on.
    #[must_use]
    pub fn rests_on(mut self, key: &str) -> Self {
        self.rests_on = Some(key.to_owned());
        self
    }

    pub(crate) fn below(mut self, path: &str) -> Self {
        self.path = if self.path.is_empty() { path.to_owned() } else { format!("{path}.{}", self.path) };
        self.rests_on = self.rests_on.map(|key| format!("{path}.{key}"));
        self
    }

    /// Adds a suggestion.
    #[must_use]
    pub fn suggest(mut self, suggestion: impl Into<String>) -> Self {
        self.suggestion = Some(suggestion.into());
        self
    }
}

/// Reads a check's object into a kind's own configuration; keys that the kind does not have are left to the tables.
///
/// # Errors
/// When a key has another type than the kind wants.
pub fn read<T: DeserializeOwned>(json: &Json) -> Result<T, Vec<Issue>> {
    T::deserialize(json).map_err(|error| vec![Issue::new("", error.to_string())])
}

#[cfg(test)]
mod tests;
