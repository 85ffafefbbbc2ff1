//! Configuration: load → validate (pure, complete, all problems at once) → build.
//!
//! One spanned tree is read from YAML, held against the tables that the crates declare, and given to each crate as
//! plain JSON. Nothing is in force before the whole file is good.

#[cfg(test)]
mod conformance;
pub(crate) mod lake;
mod open;
pub(crate) mod reference;
pub(crate) mod render;
pub(crate) mod schema;
pub(crate) mod spec;
pub(crate) mod suggest;
pub(crate) mod validate;
pub(crate) mod yaml;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::config::{Node, Problem, Span, Tree, Ty};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use self::lake::LakeConfig;
use crate::events;
use crate::failure::BadConfig;
use crate::terminal;
use reference::Sources;
use spec::{LedgerConfig, Tenants};

/// What holds where no file is named; it is read like any other, with the data directory put in its place.
const DEFAULTS: &str = include_str!("config/defaults.yaml");
/// What the data directory takes the place of.
const DATA_DIR_SLOT: &str = "\"@DATA_DIR@\"";
/// What the directory of the log takes the place of.
const LEDGER_DIR_SLOT: &str = "\"@LEDGER_DIR@\"";
/// Fewest characters of a name that opens a heartbeat to whoever knows it: 16 of an alphabet of 64 are 96 bits.
const PING_ID_CHARS_MIN: usize = 16;
/// What people call their file.
const FILE_USUAL: &str = "dihya.yaml";
/// The check that must be seen down, so that checkers that no longer see are noticed.
pub(crate) const CANARY: &str = "dihya-canary";

/// A configuration without problems.
pub(crate) struct Loaded {
    /// The file; `None` for the defaults.
    pub(crate) path: Option<PathBuf>,
    /// SHA-256 of the file's bytes, hexadecimal; empty for the defaults.
    pub(crate) sha256: String,
    /// Nothing stands in the file but comments.
    pub(crate) blank: bool,
    /// `server:`.
    pub(crate) server: server::Config,
    /// `checks:` and `maintenance:`.
    pub(crate) checks: probe::Config,
    /// `alerting:`.
    pub(crate) alerting: alert::config::Loaded,
    /// `channels:`, with `log`.
    pub(crate) channels: BTreeMap<String, alert::channel::config::Config>,
    /// Hosts, addresses and channels that the file names.
    pub(crate) declared: Vec<String>,
    /// `tenants:`, with `default`.
    pub(crate) tenants: Tenants,
    /// `privacy:`.
    pub(crate) privacy: privacy::Config,
    /// `ledger:`.
    pub(crate) ledger: LedgerConfig,
    /// `sources:`.
    pub(crate) sources: intake::sources::Config,
    /// `lake:`.
    pub(crate) lake: LakeConfig,
    /// `outputs:`.
    pub(crate) outputs: export::config::Configs,
    /// What is in force all the same, and should not be as it is.
    pub(crate) warnings: Vec<Problem>,
}

/// Why a file is not in force.
#[derive(Debug)]
pub(crate) struct Rejected {
    /// The file as people call it.
    pub(crate) name: String,
    /// Its text, as far as it could be read.
    pub(crate) text: String,
    /// SHA-256 of its bytes, hexadecimal.
    pub(crate) sha256: String,
    /// Everything that is wrong with it.
    pub(crate) problems: Vec<Problem>,
}

impl Rejected {
    /// Renders the problems for a terminal.
    pub(crate) fn render(&self, colour: bool) -> String {
        render::render(&self.name, &self.text, &self.problems, colour)
    }
}

impl Loaded {
    /// Makes the redactor that the policy asks for. What the operator declared by name is no personal data.
    ///
    /// # Errors
    /// When the policy cannot be carried out.
    pub(crate) fn redactor(&self) -> anyhow::Result<privacy::Redactor> {
        let mut declared: Vec<&str> = vec![&self.ledger.instance];
        for check in &self.checks.checks {
            declared.extend([&*check.id, check.name.as_str(), check.group.as_str()]);
            declared.extend(check.labels.values().map(String::as_str));
        }
        declared.extend(self.alerting.config.receivers.keys().map(String::as_str));
        declared.extend(self.tenants.keys().map(model::Tenant::as_str));
        declared.extend(self.declared.iter().map(String::as_str));
        declared.retain(|name| !name.is_empty());
        Ok(self.privacy.redactor(declared)?)
    }

    /// Makes the clearer that the policy asks for; tokens in labels are made with `token_key`, and the keys of persons in
    /// events come from `keystores`.
    ///
    /// # Errors
    /// When the policy cannot be carried out.
    pub(crate) fn clearer(
        &self,
        token_key: [u8; 32],
        keystores: privacy::Keystores,
    ) -> anyhow::Result<privacy::Clearer> {
        let redactor = Arc::new(self.redactor()?);
        let policy = Arc::new(privacy::Policy::new(&self.privacy, Arc::clone(&redactor))?);
        Ok(privacy::Clearer::new(redactor, token_key).with_policy(policy).with_keystores(keystores))
    }

    /// Logs what should not be as it is.
    pub(crate) fn warn(&self) {
        let file = self.path.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        for warning in &self.warnings {
            events::config_doubtful(&file, warning);
        }
    }

    /// Says in a few words what the file declares.
    pub(crate) fn summary(&self) -> String {
        let count = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        let receivers = self.alerting.config.receivers.len();
        format!("{}, {}", count(self.checks.checks.len().saturating_sub(1), "check"), count(receivers, "receiver"))
    }
}

/// Reads `path`, or the defaults, and checks everything.
///
/// # Errors
/// When there is any problem: rendered for the terminal that standard error is.
pub(crate) fn load(path: Option<&Path>, data_dir: &Path) -> Result<Loaded, BadConfig> {
    read(path, data_dir).map_err(|rejected| BadConfig(rejected.render(terminal::colours_err())))
}

/// Reads `path`, or the defaults, and checks everything.
///
/// # Errors
/// With all problems when there is any.
pub(crate) fn read(path: Option<&Path>, data_dir: &Path) -> Result<Loaded, Box<Rejected>> {
    let mut loaded = read_file(path, data_dir)?;
    loaded.server.host_name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    Ok(loaded)
}

fn read_file(path: Option<&Path>, data_dir: &Path) -> Result<Loaded, Box<Rejected>> {
    let Some(path) = path else {
        let text = defaults(data_dir);
        let base = PathBuf::from(".");
        return parse(&text, "built-in configuration", None, &base, &reference::Os { base: base.clone() });
    };
    let name = path.display().to_string();
    let unreadable = |why: String| {
        let problem = spec::problem(Span { line: 1, column: 1 }, "", format!("cannot be read: {why}"), None);
        let rejected =
            Rejected { name: name.clone(), text: String::new(), sha256: String::new(), problems: vec![problem] };
        Box::new(rejected)
    };
    let length = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?.len();
    if length > yaml::FILE_BYTES_MAX as u64 {
        return Err(unreadable(format!("it exceeds {} bytes", yaml::FILE_BYTES_MAX)));
    }
    let bytes = std::fs::read(path).map_err(|error| unreadable(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| unreadable("it is not UTF-8".to_owned()))?;
    let base = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let base = base.canonicalize().unwrap_or_else(|_| base.to_owned());
    parse(&text, &name, Some(path), &base, &reference::Os { base: base.clone() })
}

/// Says that a file stands here which nobody named, so that nobody believes it to be in force: `serve` and `config check`
/// read the file that they are given, or none.
pub(crate) fn overlooked() -> Option<String> {
    let there = Path::new(FILE_USUAL).is_file();
    there.then(|| {
        format!("{FILE_USUAL} in this directory was not read: name it, as in `dihya config check {FILE_USUAL}`")
    })
}

/// Returns the built-in configuration for a data directory. Before its first start that is not there, so the disk is
/// watched at the nearest directory that is.
fn defaults(data_dir: &Path) -> String {
    let absolute = std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.to_owned());
    let there = absolute.ancestors().find(|dir| dir.is_dir()).unwrap_or(Path::new("/"));
    let log = absolute.join("ledger").join(spec::INSTANCE_DEFAULT).join(model::Tenant::DEFAULT);
    // A JSON string is a YAML string.
    let quoted = |path: &Path| Value::from(path.to_string_lossy()).to_string();
    DEFAULTS.replace(DATA_DIR_SLOT, &quoted(there)).replace(LEDGER_DIR_SLOT, &quoted(&log))
}

/// Checks the text of a file.
fn parse(
    text: &str,
    name: &str,
    path: Option<&Path>,
    base: &Path,
    sources: &dyn Sources,
) -> Result<Loaded, Box<Rejected>> {
    let sha256 = if path.is_some() { hex(&Sha256::digest(text.as_bytes())) } else { String::new() };
    let reject = |mut problems: Vec<Problem>| {
        for problem in &mut problems {
            problem.message = without_credentials(&problem.message);
            problem.suggestion = problem.suggestion.take().map(|text| without_credentials(&text));
        }
        problems.sort();
        problems.dedup();
        Box::new(Rejected { name: name.to_owned(), text: text.to_owned(), sha256: sha256.clone(), problems })
    };
    let (root, problems) = yaml::read(text);
    let mut reading = Reading { base, sources, problems, warnings: Vec::new(), tabled: 0 };
    let Some(root) = root else { return Err(reject(reading.problems)) };
    let parts = reading.parts(root);
    if !reading.problems.is_empty() {
        return Err(reject(reading.problems));
    }
    Ok(Loaded {
        path: path.map(Path::to_owned),
        sha256,
        blank: text.lines().map(str::trim).all(|line| line.is_empty() || line == "---" || line.starts_with('#')),
        server: parts.server,
        checks: parts.checks,
        channels: parts.channels,
        declared: parts.declared,
        alerting: parts.alerting,
        tenants: parts.tenants,
        privacy: parts.privacy,
        ledger: parts.ledger,
        sources: parts.sources,
        lake: parts.lake,
        outputs: parts.outputs,
        warnings: reading.warnings,
    })
}

/// Takes passwords and keys out of what a person reads of their own file. Hosts and persons stay as the file names them;
/// but it is shown in CI logs too, and what repeats a value must not repeat a password with it.
pub(crate) fn without_credentials(text: &str) -> String {
    use privacy::Type;
    let open = Type::ALL.into_iter().filter(|kind| !matches!(kind, Type::Secret | Type::UrlCredentials | Type::Jwt));
    let redactor = open.fold(privacy::Redactor::new(), privacy::Redactor::with_kept);
    let text = redactor.redact(text);
    // `user:password@host` without a scheme is no URL, and what was meant is plain.
    let mut out = String::with_capacity(text.len());
    let mut pieces = text.split('@').peekable();
    while let Some(piece) = pieces.next() {
        let start = piece.rfind([' ', '\'', '"', '`', '/', '{', '[']).map_or(0, |at| at + 1);
        let (before, user) = piece.split_at(start);
        let user = match user.split_once(':') {
            Some((name, _)) if pieces.peek().is_some() => format!("{name}:[secret]"),
            _ => user.to_owned(),
        };
        out.push_str(before);
        out.push_str(&user);
        if pieces.peek().is_some() {
            out.push('@');
        }
    }
    out
}

/// One reading of one file: gathers problems, and values that count only if there is none.
struct Reading<'a> {
    base: &'a Path,
    sources: &'a dyn Sources,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    /// How many of the problems the tables found: they explain what owners find at the same place.
    tabled: usize,
}

struct Parts {
    server: server::Config,
    checks: probe::Config,
    channels: BTreeMap<String, alert::channel::config::Config>,
    declared: Vec<String>,
    alerting: alert::config::Loaded,
    tenants: Tenants,
    privacy: privacy::Config,
    ledger: LedgerConfig,
    sources: intake::sources::Config,
    lake: LakeConfig,
    outputs: export::config::Configs,
}

impl Reading<'_> {
    fn parts(&mut self, mut root: Node) -> Parts {
        spec::refuse_later(&mut root, &mut self.problems);
        let channels: BTreeSet<String> = match root.get("channels").map(|node| &node.tree) {
            Some(Tree::Map(entries)) => entries.iter().map(|(name, _, _)| name.clone()).collect(),
            _ => BTreeSet::new(),
        };
        let alerting = self.alerting(take(&mut root, "alerting").as_ref(), &channels);
        self.warnings.extend(open::find(&root));
        let resolved =
            validate::validate(&root, &Ty::Object(&spec::ROOT), "", self.base, self.sources, &mut self.problems);
        self.tabled = self.problems.len();
        let mut json = resolved.to_json();
        self.add_canary(&root, &mut json);
        let server = self.typed(&root, &json, "server", server::Config::from_json);
        let checks = match probe::Config::read(&json["checks"], &json["maintenance"]) {
            Ok(checks) => checks,
            Err(issues) => {
                for issue in issues {
                    let rests_on = issue.rests_on.as_deref();
                    if rests_on.is_some_and(|key| self.problems.iter().any(|known| is_within(&known.path, key))) {
                        continue;
                    }
                    self.report(&root, &issue.path, issue.message, issue.suggestion);
                }
                probe::Config::default()
            }
        };
        // From the tree: a check that has problems of its own is there all the same.
        let ids: Vec<&str> = match root.get("checks").map(|node| &node.tree) {
            Some(Tree::Map(entries)) => entries.iter().map(|(id, _, _)| id.as_str()).collect(),
            _ => Vec::new(),
        };
        for (path, message, suggestion) in server.check(&ids) {
            self.report(&root, &format!("server.{path}"), message, suggestion);
        }
        self.heartbeats(&root, &json);
        self.searches(&root, &json);
        self.certificates(&root, &server);
        let mut channel_configs = self.channels(&root, &json);
        channel_configs.extend(self.native_channels(&alerting.implicit, alerting.global.as_ref()));
        let mut names = declared(&json, channels);
        names.extend(channel_configs.values().flat_map(alert::channel::config::Config::declared));
        let ledger: LedgerConfig = self.typed(&root, &json, "ledger", part);
        if model::Origin::new(&ledger.instance).is_err() {
            self.report(&root, "ledger.instance", model::tenant::BadName.to_string(), None);
        }
        let privacy: privacy::Config = self.typed(&root, &json, "privacy", part);
        for (path, message, suggestion) in privacy.check() {
            self.report(&root, &format!("privacy.{path}"), message, suggestion);
        }
        let sources = self.sources(&root, &json);
        let tenants = self.tenants(&root, &json, &server, &sources);
        let lake: LakeConfig = self.typed(&root, &json, "lake", part);
        for (path, message, suggestion) in lake.check(&tenants) {
            self.report(&root, &format!("lake.{path}"), message, suggestion);
        }
        let outputs = self.outputs(&root, &json, &tenants);
        names.extend(outputs.values().filter_map(export::Output::declared));
        Parts {
            server,
            channels: channel_configs,
            declared: names,
            checks,
            alerting,
            tenants,
            privacy,
            ledger,
            sources,
            lake,
            outputs,
        }
    }

    fn outputs(&mut self, root: &Node, json: &Value, tenants: &Tenants) -> export::config::Configs {
        let outputs = self.each(root, json, "outputs", export::config::read);
        let tenants: Vec<_> = tenants.keys().collect();
        for (path, message, suggestion) in export::config::check(&outputs, &tenants) {
            self.report(root, format!("outputs.{path}").trim_end_matches('.'), message, suggestion);
        }
        outputs
    }

    /// Whoever knows a heartbeat's name can give signs of life in its place.
    fn heartbeats(&mut self, root: &Node, json: &Value) {
        for (id, check) in json["checks"].as_object().into_iter().flatten() {
            let name = check.get("ping_id").and_then(Value::as_str).filter(|_| check["kind"] == "heartbeat");
            if name.is_some_and(|name| name.chars().count() < PING_ID_CHARS_MIN) {
                self.report(
                    root,
                    &format!("checks.{id}.ping_id"),
                    format!("expected at least {PING_ID_CHARS_MIN} characters, for nobody to guess"),
                    Some("write what `openssl rand -hex 16` prints, or leave it out and ping with a token".to_owned()),
                );
            }
        }
    }

    /// A search is read by who answers it.
    fn searches(&mut self, root: &Node, json: &Value) {
        for (id, check) in
            json["checks"].as_object().into_iter().flatten().filter(|(_, check)| check["kind"] == "search")
        {
            let Some(search) = check.get("query").and_then(Value::as_str) else { continue };
            let search = ::lake::Query { search: search.to_owned(), ..::lake::Query::default() };
            if let Err(::lake::Error::Search(wrong)) = search.check() {
                let message = format!("cannot be read at column {}: expected {}", wrong.column, wrong.expected);
                let suggestion = Some("write words and field:value, as in `service:auth error`".to_owned());
                self.report(root, &format!("checks.{id}.query"), message, suggestion);
            }
        }
    }

    /// A certificate that is not there keeps the server from its start, so it is a problem of the file. What only the
    /// server's own account may read is left to it.
    fn certificates(&mut self, root: &Node, server: &server::Config) {
        let mut files = Vec::new();
        if let Some(tls) = &server.tls {
            files.extend([("tls.cert_file".to_owned(), &tls.cert_file), ("tls.key_file".to_owned(), &tls.key_file)]);
        }
        for (at, of) in server.listeners.iter().enumerate() {
            let keys =
                [("cert_file", &of.cert_file), ("key_file", &of.key_file), ("client_ca_file", &of.client_ca_file)];
            let named =
                keys.into_iter().filter_map(|(key, path)| Some((format!("listeners.{at}.{key}"), path.as_ref()?)));
            files.extend(named);
        }
        for (key, path) in files {
            if path.as_os_str().is_empty() {
                continue; // the tables said so
            }
            if let Err(why) = self.sources.stands(path) {
                let message = format!("cannot read the file: {why}");
                let suggestion = Some("write the path of a PEM file".to_owned());
                self.report(root, &format!("server.{key}"), message, suggestion);
            }
        }
    }

    /// Events of a tenant that is not declared would be refused one by one, for ever.
    fn tenants(
        &mut self,
        root: &Node,
        json: &Value,
        server: &server::Config,
        sources: &intake::sources::Config,
    ) -> Tenants {
        let tenants = spec::tenants(root, &json["tenants"], &mut self.problems);
        let listeners = server.listeners.iter().enumerate();
        let listeners = listeners.map(|(at, of)| (format!("server.listeners.{at}.tenant"), &of.tenant));
        let fetched = sources.tenants().map(|(path, tenant)| (format!("sources.{path}"), tenant));
        for (path, tenant) in listeners.chain(fetched) {
            if !tenants.contains_key(tenant) {
                let suggestion = Some("declare it under tenants".to_owned());
                self.report(root, &path, format!("there is no tenant {tenant}"), suggestion);
            }
        }
        tenants
    }

    fn sources(&mut self, root: &Node, json: &Value) -> intake::sources::Config {
        let sources: intake::sources::Config = self.typed(root, json, "sources", part);
        for (path, message, suggestion) in sources.check() {
            self.report(root, &format!("sources.{path}"), message, suggestion);
        }
        for (at, journal) in sources.journal.iter().enumerate() {
            if let Err(why) = self.sources.stands(&journal.program) {
                let path = format!("sources.journal.{at}.program");
                let suggestion = "install systemd, or write where journalctl is".to_owned();
                self.report(root, &path, format!("journalctl cannot be run: {why}"), Some(suggestion));
            }
        }
        sources
    }

    fn add_canary(&mut self, root: &Node, json: &mut Value) {
        if !json["checks"].is_object() {
            json["checks"] = serde_json::json!({});
        }
        if json["checks"].get(CANARY).is_some() {
            self.report(
                root,
                &format!("checks.{CANARY}"),
                "the name is taken by Dihya's own check of its checkers",
                Some("give the check another name".to_owned()),
            );
        }
        json["checks"][CANARY] = serde_json::json!({"kind": "canary", "name": "Checkers", "interval": "30s"});
    }

    /// The declared channels, and `log`, which is there without being declared.
    fn channels(&mut self, root: &Node, json: &Value) -> BTreeMap<String, alert::channel::config::Config> {
        let mut channels = self.each(root, json, "channels", alert::channel::config::read);
        for (name, channel) in &channels {
            for (path, message, suggestion) in channel.check() {
                self.report(root, &format!("channels.{name}.{path}"), message, suggestion);
            }
        }
        let log = || alert::channel::config::Config::Log(alert::channel::config::LogConfig::default());
        channels.entry(alert::config::DEFAULT_CHANNEL.to_owned()).or_insert_with(log);
        channels
    }

    /// The channels that Alertmanager's own receiver configurations imply.
    fn native_channels(
        &mut self,
        implicit: &[alert::config::Implicit],
        global: Option<&Node>,
    ) -> BTreeMap<String, alert::channel::config::Config> {
        let sources = self.sources;
        let read_file = |path: &str| sources.file(path).ok().map(|text| text.trim_end_matches(['\r', '\n']).to_owned());
        let common = global.map(Node::to_json);
        let mut channels = BTreeMap::new();
        for implicit in implicit {
            let entry = implicit.node.to_json();
            match alert::channel::native::native(implicit.kind, &entry, common.as_ref(), &read_file) {
                Ok(channel) => {
                    channels.insert(implicit.name.clone(), channel);
                }
                Err(problems) => {
                    for (path, message, suggestion) in problems {
                        let common = global.and_then(|global| Some((global, path.strip_prefix("global.")?)));
                        let (span, path) = match common {
                            Some((global, below)) => (span_at(global, below), format!("alerting.{path}")),
                            None => (span_at(&implicit.node, &path), format!("{}.{path}", implicit.path)),
                        };
                        let path = path.trim_end_matches('.').to_owned();
                        // A reference that leads nowhere is said once, and not also as the empty text that it left.
                        if !self.problems.iter().any(|known| known.path == path && known.span == span) {
                            self.problems.push(Problem { span, path, message, suggestion });
                        }
                    }
                }
            }
        }
        channels
    }

    /// Alertmanager's language is its crate's to read; here its references are replaced and its secrets looked for.
    fn alerting(&mut self, node: Option<&Node>, channels: &BTreeSet<String>) -> alert::config::Loaded {
        let resolved = node.map(|node| {
            let mut found = Vec::new();
            let ty = Ty::Object(&alert::config::SPEC);
            validate::validate(node, &ty, "alerting", self.base, self.sources, &mut found);
            self.problems.extend(found.into_iter().filter(|p| p.message.starts_with(validate::SECRET_IN_THE_OPEN)));
            validate::validate(node, &Ty::Any, "alerting", self.base, self.sources, &mut self.problems)
        });
        let loaded = alert::config::load(resolved.as_ref(), channels).unwrap_or_else(|refused| {
            self.problems.extend(refused.problems);
            let config = alert::Config::default();
            alert::config::Loaded { config, implicit: refused.implicit, global: refused.global }
        });
        if let Some(node) = node {
            self.warn_of_secrets(node, &loaded.implicit);
        }
        loaded
    }

    /// Finds the secrets of native receivers that stand in the open: people bring their own file, so those are told of
    /// and not refused.
    fn warn_of_secrets(&mut self, alerting: &Node, implicit: &[alert::config::Implicit]) {
        let entries = implicit.iter().map(|implicit| implicit.path.as_str());
        let secrets = alert::channel::native::SECRETS;
        for entry in entries.chain(["alerting.global"]) {
            for path in secrets.iter().map(|secret| format!("{entry}.{secret}")) {
                let Some(node) = path.strip_prefix("alerting.").and_then(|path| alerting.at(path)) else { continue };
                if node.tree == Tree::Text(String::new()) {
                    continue;
                }
                let mut found = Vec::new();
                validate::validate(node, &Ty::Secret, &path, self.base, self.sources, &mut found);
                found.retain(|problem| problem.message.starts_with(validate::SECRET_IN_THE_OPEN));
                self.warnings.append(&mut found);
            }
        }
    }

    /// Gives a part to its owner. The tables were held against it before, so an error here is one that they cannot
    /// express.
    fn typed<T: Default>(
        &mut self,
        root: &Node,
        json: &Value,
        key: &str,
        read: impl FnOnce(&Value) -> Result<T, serde_json::Error>,
    ) -> T {
        match read(&json[key]) {
            Ok(part) => part,
            // Where the tables found the reason, it stands there already.
            Err(_) if self.problems.iter().any(|known| is_within(&known.path, key)) => T::default(),
            Err(error) => {
                self.report(root, key, error.to_string(), None);
                T::default()
            }
        }
    }

    /// Gives each entry of a part to its owner by itself: one that cannot be read hides nothing of the others.
    fn each<T>(
        &mut self,
        root: &Node,
        json: &Value,
        key: &str,
        read: impl Fn(&Value) -> Result<BTreeMap<String, T>, serde_json::Error>,
    ) -> BTreeMap<String, T> {
        let mut entries = BTreeMap::new();
        for (name, entry) in json[key].as_object().into_iter().flatten() {
            match read(&serde_json::json!({ name: entry })) {
                Ok(read) => entries.extend(read),
                Err(error) => self.report(root, &format!("{key}.{name}"), error.to_string(), None),
            }
        }
        entries
    }

    /// Adds a problem that the owner of a part found, unless the tables found its cause below the same path.
    fn report(&mut self, root: &Node, path: &str, message: impl Into<String>, suggestion: Option<String>) {
        let mut tabled = self.problems.iter().take(self.tabled);
        if tabled.any(|known| is_within(&known.path, path)) {
            return;
        }
        let problem = Problem { span: span_at(root, path), path: path.to_owned(), message: message.into(), suggestion };
        self.problems.push(problem);
    }
}

/// Tells whether a dotted path is another one, or below it.
fn is_within(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn take(root: &mut Node, key: &str) -> Option<Node> {
    let Tree::Map(entries) = &mut root.tree else { return None };
    let at = entries.iter().position(|(name, _, _)| name == key)?;
    Some(entries.remove(at).2)
}

/// Gathers the hosts and addresses of declared targets: whoever reads an alert must be able to tell which one it is.
fn declared(json: &Value, channels: BTreeSet<String>) -> Vec<String> {
    const KEYS: [&str; 8] = ["url", "address", "host", "server_name", "query", "resolver", "endpoint", "proxy"];
    let mut names: BTreeSet<String> = channels;
    let checks = json["checks"].as_object().into_iter().flatten().map(|(_, check)| check);
    // What is looked for in events is no target, and may be somebody's name.
    for check in checks.filter(|check| check["kind"] != "search") {
        for text in KEYS.iter().filter_map(|key| check.get(key)?.as_str()) {
            match url::Url::parse(text).ok().and_then(|url| url.host_str().map(str::to_owned)) {
                Some(host) => names.insert(host.trim_matches(['[', ']']).to_owned()),
                None => {
                    // A bare IPv6 address has colons and no port.
                    let bare = text.parse::<std::net::IpAddr>().is_ok();
                    let host = text.rsplit_once(':').filter(|_| !bare).map_or(text, |(host, _)| host);
                    names.insert(host.trim_matches(['[', ']']).to_owned())
                }
            };
        }
    }
    names.into_iter().collect()
}

fn part<T: serde::de::DeserializeOwned + Default>(json: &Value) -> Result<T, serde_json::Error> {
    if json.is_null() { Ok(T::default()) } else { serde_json::from_value(json.clone()) }
}

/// Finds the place of a dotted path, or of what contains it. Keys may contain dots themselves.
fn span_at(root: &Node, path: &str) -> Span {
    descend(root, path).unwrap_or(root.span)
}

fn descend(node: &Node, path: &str) -> Option<Span> {
    match &node.tree {
        Tree::Map(entries) => {
            let found = entries.iter().filter_map(|(key, span, below)| match path.strip_prefix(key.as_str())? {
                "" => Some((key.len(), *span, below, "")),
                rest => Some((key.len(), *span, below, rest.strip_prefix('.')?)),
            });
            let (_, span, below, rest) = found.max_by_key(|(len, ..)| *len)?;
            // The value, where it is on the line of its key; else the key.
            let here = if below.span.line == span.line { below.span } else { span };
            if rest.is_empty() { Some(here) } else { Some(descend(below, rest).unwrap_or(span)) }
        }
        Tree::List(items) => {
            let (index, rest) = path.split_once('.').unwrap_or((path, ""));
            let item = items.get(index.parse::<usize>().ok()?)?;
            if rest.is_empty() { Some(item.span) } else { Some(descend(item, rest).unwrap_or(item.span)) }
        }
        // One value may stand for a list of one.
        _ => (path == "0").then_some(node.span),
    }
}

/// Writes bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn read_text(text: &str) -> Result<Loaded, Vec<String>> {
        let sources = reference::tests::Fixed(&[("/run/secrets/hook", "https://hooks.example/x"), ("PASSWORD", "x")]);
        parse(text, "dihya.yaml", Some(Path::new("dihya.yaml")), Path::new("/"), &sources)
            .map_err(|rejected| rejected.problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn places_are_found_even_under_names_with_dots() {
        let node = yaml::parse("checks:\n  a.example:\n    url: x\n  a:\n    - b\n").expect("is YAML");
        for (path, line, column) in [
            ("checks.a.example.url", 3, 10),
            ("checks.a.example", 2, 3),
            ("checks.a.example.none", 2, 3),
            ("checks.a.0", 5, 7),
            ("checks.a.9", 4, 3),
            ("checks.a.0.x", 5, 7),
            ("none", 1, 1),
        ] {
            assert_eq!(span_at(&node, path), Span { line, column }, "{path}");
        }
    }

    /// One duplicate key hid every other problem, and one bad check made all others unknown to the status page.
    #[test]
    fn no_problem_hides_another() {
        let problems = read_text(
            "server:\n  listen: nowhere\n  listen: 127.0.0.1:1\n  status_page: {tenant: 'Not One', checks: [web, wep]}\nchecks:\n  \
             web:\n    kind: http\n    url: http://a.example\n    conditions: 'status ='\n  beat: {kind: heartbeat, ping_id: short}\n  \
             tag: {kind: !odd host}\nledger: {instance: 'A b'}\n",
        )
        .err()
        .unwrap_or_default();
        for expected in [
            "2:11: server.listen: expected host:port, found `nowhere`: it names no port",
            "3:3: server.listen: the key stands here twice, first in line 2 (keep one of them)",
            "9:17: checks.web.conditions",
            "10:36: checks.beat.ping_id: expected at least 16 characters",
            "11:15: checks.tag.kind: unknown tag !odd, expected none (remove the tag)",
            "12:20: ledger.instance",
        ] {
            assert!(problems.iter().any(|found| found.starts_with(expected)), "{expected} in\n{}", problems.join("\n"));
        }
        let alone = read_text("server: {status_page: {tenant: 'Not One'}}\nledger: {instance: 'A b'}\n").err();
        assert_eq!(alone.unwrap_or_default().len(), 2);
        let of_checks = read_text(
            "server: {status_page: {checks: [web, wep]}}\nchecks:\n  web: {kind: http, url: http://a.example, conditions: 'status ='}\n",
        );
        let of_checks = of_checks.err().unwrap_or_default().join("\n");
        assert!(of_checks.contains("checks.1: there is no check wep (did you mean web?)"), "{of_checks}");
        assert!(!of_checks.contains("there is no check web"), "{of_checks}");
    }

    /// A fault hid others of the same check, channel and receiver, and one channel's those of all others.
    #[test]
    fn no_problem_hides_another_of_the_same_check_channel_or_receiver() {
        let problems = read_text(
            "channels:\n  mail: {kind: email, server: localhost, from: notanaddress, to: []}\n  hook: {kind: hok}\n  \
             log: {kind: log, rotate_size: 10}\nchecks:\n  \
             g: {kind: htttp, depends_on: nothere, conditions: 'status ==', severity: hot}\n  \
             h: {kind: tcp, address: 5, depends_on: nothere, labels: {a-b: 5}}\n  \
             i: {kind: http, url: 'http://a', depends_on: [g, h, gg], interval: 2x, timeout: 4m}\n  \
             j: {kind: search, query: '(a', labels: 5}\nmaintenance:\n  w: {checks: [nobody, i], at: '25:00', zone: Europe/Pariss}\n\
             alerting:\n  route: {receiver: r}\n  receivers:\n    - name: r\n      webhook_configs:\n        \
             - {url: nope, bogus: 1}\n        - {url: 'http://h', url_file: /run/x}\n        - {url: '${env:NONE}'}\n",
        );
        let problems = problems.err().unwrap_or_default();
        let places: Vec<_> = problems.iter().map(|p| p.split(": ").nth(1).unwrap_or_default()).collect();
        assert_eq!(
            places,
            [
                "channels.mail.server",
                "channels.mail.from",
                "channels.mail.to",
                "channels.hook.kind",
                "channels.log.rotate_size",
                "checks.g.kind",
                "checks.g.depends_on.0",
                "checks.g.conditions.0",
                "checks.g.severity",
                "checks.h.address",
                "checks.h.depends_on.0",
                "checks.h.labels.a-b",
                "checks.i.depends_on.2",
                "checks.i.interval",
                "checks.j.query",
                "checks.j.labels",
                "maintenance.w.checks.0",
                "maintenance.w.at",
                "maintenance.w.zone",
                "alerting.receivers.0.webhook_configs.0.url",
                "alerting.receivers.0.webhook_configs.0.bogus",
                "alerting.receivers.0.webhook_configs.1.url",
                "alerting.receivers.0.webhook_configs.2.url",
            ],
            "{}",
            problems.join("\n")
        );
        for problem in &problems {
            assert!(problem.ends_with(')'), "without a suggestion: {problem}");
        }
        assert!(problems.iter().any(|p| p.contains("there is no check gg (did you mean g?)")), "{problems:?}");
    }

    /// A message repeats the value that cannot be used, and with it went the password that stood in it.
    #[test]
    fn a_problem_repeats_no_credentials() {
        let text =
            "checks:\n  a: {kind: http, url: 'htp://bob:s3cret@shop/'}\n  b: {kind: tcp, address: 'bob:s3cret@shop'}\n";
        let sources = reference::tests::Fixed(&[]);
        let Err(rejected) = parse(text, "dihya.yaml", Some(Path::new("d")), Path::new("/"), &sources) else {
            panic!("must be refused")
        };
        let shown = rejected.render(false);
        assert!(shown.contains("checks.a.url") && shown.contains("did you mean http?"), "{shown}");
        assert!(!shown.contains("s3cret"), "{shown}");
        assert!(shown.contains("found `bob:[secret]@shop`"), "{shown}");
        for plain in ["ops@example.org", "address: 'h:25'", "a: {to: ops@example.org, host: 10.0.0.1}", "@", ""] {
            assert_eq!(without_credentials(plain), plain);
        }
    }

    /// What works although it should not stand there is told of with its place, and never repeated.
    #[test]
    fn secrets_in_the_open_are_warned_of() {
        let text =
            "checks:\n  a:\n    kind: http\n    url: https://bob:hunter2@shop.example/\n    headers: {X-Api-Key: k1}\n";
        let loaded = read_text(text).unwrap_or_else(|problems| panic!("{}", problems.join("\n")));
        let warned: Vec<_> = loaded.warnings.iter().map(|warning| (warning.span.line, warning.path.as_str())).collect();
        assert_eq!(warned, [(4, "checks.a.url"), (5, "checks.a.headers.X-Api-Key")]);
        let shown = render::render("dihya.yaml", text, &loaded.warnings, false);
        assert!(!shown.contains("hunter2") && !shown.contains("k1"), "{shown}");
    }

    #[test]
    fn a_certificate_that_is_not_there_is_a_problem() {
        let problems = read_text("server: {tls: {cert_file: /nonexistent/c.pem, key_file: /run/k.pem}}\n").err();
        assert_eq!(
            problems.unwrap_or_default(),
            ["1:27: server.tls.cert_file: cannot read the file: there is no such file (write the path of a PEM file)",]
        );
    }

    #[test]
    fn targets_are_declared_as_they_are_written() {
        let json = serde_json::json!({"checks": {
            "a": {"host": "2001:db8::1"}, "b": {"address": "[2001:db8::2]:22"}, "c": {"address": "h.example:25"},
            "d": {"url": "https://[2001:db8::3]:8443/x"}, "e": {"host": "192.0.2.1"},
            "f": {"kind": "search", "query": "user.id:marie"},
        }});
        let names = declared(&json, BTreeSet::new());
        assert_eq!(names, ["192.0.2.1", "2001:db8::1", "2001:db8::2", "2001:db8::3", "h.example"]);
    }

    #[test]
    fn outputs_have_their_problems_at_their_places() {
        let problems = read_text(
            "outputs:\n  a: {kind: elasticsearh, url: 'https://es.example:9200'}\n  b: {kind: file}\n  c: {kind: logstash, \
             address: 'h:1', tsl: true}\n",
        );
        let problems = problems.err().unwrap_or_default().join("\n");
        for expected in [
            "2:13: outputs.a.kind: unknown kind elasticsearh, expected file, elasticsearch or logstash (did you mean \
             elasticsearch?)",
            "3:3: outputs.b.path: the key path is missing",
            "4:39: outputs.c.tsl: unknown key",
            "did you mean tls?",
        ] {
            assert!(problems.contains(expected), "{expected} in\n{problems}");
        }
        let problems = read_text(
            "outputs:\n  a: {kind: elasticsearch, url: 'https://h', index: '{service}-x', tenant: clinic, username: u, \
             password: open}\n  b:\n    kind: elasticsearch\n    url: https://es.example\n    index: 'logs-{+YYYY}'\n",
        );
        let problems = problems.err().unwrap_or_default().join("\n");
        for expected in [
            "outputs.a.password: a secret stands in the open",
            "6:12: outputs.b.index: expected yyyy, MM and dd, with dots or dashes between them (write {+yyyy.MM.dd})",
        ] {
            assert!(problems.contains(expected), "{expected} in\n{problems}");
        }
        let loaded = read_text("outputs: {a: {kind: logstash, address: 'logs.example:5044'}}\n").expect("is good");
        assert!(loaded.declared.contains(&"logs.example".to_owned()) && loaded.outputs.len() == 1);
    }

    #[test]
    fn searches_are_read_before_they_are_in_force() {
        let problems = read_text(
            "checks:\n  a: {kind: search, query: 'service:auth severity>=error'}\n  b: {kind: search, query: '(unclosed'}\n  \
             c: {kind: search, query: 'severity>=loud', window: 10m}\n  d: {kind: search}\n  e: {kind: search, query: x, window: 5s}\n",
        );
        assert_eq!(
            problems.err().unwrap_or_default(),
            [
                "3:28: checks.b.query: cannot be read at column 10: expected a closing bracket (write words and field:value, as in \
                 `service:auth error`)",
                "4:28: checks.c.query: cannot be read at column 11: expected a level (trace, debug, info, warning, error, \
                 critical) or its number (write words and field:value, as in `service:auth error`)",
                "5:3: checks.d.query: the key query is missing, expected text (add `query: TEXT`)",
                "6:39: checks.e.window: events between two runs would not be counted (make it as long as interval)",
            ]
        );
    }

    #[test]
    fn parts_of_later_versions_are_refused_by_name() {
        let problems = read_text(
            "detection: {}\nhooks: []\ntenants: {meta: {}, A: {}, b: {public: true}}\nledger: {instance: 'A b'}\n",
        )
        .err();
        assert_eq!(
            problems.unwrap_or_default(),
            [
                "1:1: detection: detection is not supported yet: detection comes with a later version (remove the key)",
                "2:1: hooks: hooks is not supported yet: hooks come with a later version (remove the key)",
                "3:11: tenants.meta: meta is the name of the meta-log",
                "3:21: tenants.A: expected segments of a-z, 0-9, dot and dash, none of them . or ..",
                "4:20: ledger.instance: expected segments of a-z, 0-9, dot and dash, none of them . or ..",
            ]
        );
    }

    #[test]
    fn the_defaults_watch_host_disk_ledger_and_resolver() {
        let loaded = read(None, Path::new("/tmp/it's \"here\"")).map_err(|r| r.render(false)).expect("is good");
        let ids: Vec<&str> = loaded.checks.checks.iter().map(|check| &*check.id).collect();
        assert_eq!(ids, [CANARY, "disk", "host", "ledger", "resolver"]);
        assert!(loaded.channels.contains_key("log") && loaded.sha256.is_empty());
        assert_eq!(loaded.summary(), "4 checks, 1 receiver");
    }

    #[test]
    fn the_example_is_good() {
        let example = include_str!("../../../docs/examples/dihya.yaml");
        let loaded = read_text(example).unwrap_or_else(|problems| panic!("{}", problems.join("\n")));
        assert!(loaded.checks.checks.len() > 5 && loaded.channels.len() > 3);
        let redactor = loaded.redactor().expect("a policy");
        assert!(redactor.is_declared("shop.example.org"));
    }

    #[test]
    fn channels_native_receivers_and_checks_are_held_against_each_other() {
        let problems = read_text(
            "channels:\n  a:\n    kind: webhook\n    url: ${env:PASSWORD}\nserver: {status_page: {checks: [non]}}\nchecks:\n  \
             dihya-canary: {kind: host}\nalerting:\n  global: {smtp_auth_password: open}\n  route: {receiver: r}\n  receivers:\n    \
             - name: r\n      email_configs:\n        - {to: nobody, colour: red}\n",
        )
        .err()
        .unwrap_or_default()
        .join("\n");
        for expected in [
            "channels.a.url: expected a URL",
            "server.status_page.checks.0: there is no check non",
            "checks.dihya-canary: the name is taken",
            "alerting.global.smtp_auth_password: a secret stands in the open",
            "email_configs.0.colour: colour is not supported yet",
        ] {
            assert!(problems.contains(expected), "{expected} in\n{problems}");
        }
    }

    #[test]
    fn files_that_cannot_be_read_are_problems_too() {
        let rejected = |path: &str| match read(Some(Path::new(path)), Path::new("d")) {
            Err(rejected) => rejected.problems.iter().map(ToString::to_string).collect::<String>(),
            Ok(_) => String::new(),
        };
        assert!(rejected("/nonexistent/dihya.yaml").contains("cannot be read"));
        assert!(rejected("/dev").contains("cannot be read"));
        let dir = tempfile::tempdir().expect("a directory");
        let latin = dir.path().join("latin.yaml");
        disk::write_atomic(&disk::OsDisk, &latin, &[0xE9]).expect("written");
        assert!(rejected(latin.to_str().expect("UTF-8")).contains("not UTF-8"));
    }
}
