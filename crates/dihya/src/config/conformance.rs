//! Alertmanager's own configuration files, read as the product reads them.
//!
//! Two questions are asked of each: is it accepted or refused as Alertmanager does (`alertmanager-verdict`), and, since
//! this is a strict subset, is nothing of it passed over in silence (`alertmanager-subset`)?

use std::path::{Path, PathBuf};

use model::config::{Node, Problem, Tree};

use super::{read, yaml};

/// What Alertmanager accepts, by its `config_test.go`; it refuses all others.
const ACCEPTED: [&str; 20] = [
    "empty-fields",
    "good",
    "group-by-all",
    "http-config.good",
    "mattermost-default-webhook-url",
    "mattermost-default-webhook-url-file",
    "opsgenie-default-apikey",
    "opsgenie-default-apikey-file",
    "rocketchat-default-token",
    "rocketchat-default-token-file",
    "slack-default-api-url-file",
    "slack-default-app-token",
    "smtp-no-username-or-password",
    "smtp-password-global-and-local",
    "sns-topic-arn",
    "telegram-default-bot-token",
    "telegram-default-bot-token-file",
    "victorops-default-apikey",
    "victorops-default-apikey-file",
    "wechat-default-api-secret-file",
];

/// Why Alertmanager refuses what lies within the subset, in our words.
const REASONS: [(&str, &str); 4] = [
    ("nil-match_re-route", "match_re.invalid_label: expected text"),
    ("slack-both-file-and-url", "at most one of slack_api_url and slack_api_url_file"),
    ("slack-no-api-url-or-token", "api_url is missing"),
    ("smtp-both-password-and-file", "at most one of smtp_auth_password and smtp_auth_password_file"),
];

/// Returns the keys of the subset at a place of the file; none where a place is not looked into.
fn known(place: &str) -> &'static [&'static str] {
    match place {
        "alerting" => &["global", "route", "receivers"],
        "global" => &[
            "resolve_timeout",
            "smtp_from",
            "smtp_smarthost",
            "smtp_hello",
            "smtp_auth_username",
            "smtp_auth_password_file",
            "smtp_require_tls",
            "smtp_tls_config",
            "slack_api_url_file",
            "http_config",
        ],
        "route" | "routes" => &[
            "receiver",
            "group_by",
            "group_wait",
            "group_interval",
            "repeat_interval",
            "matchers",
            "match",
            "match_re",
            "continue",
            "routes",
        ],
        "receivers" => &["name", "webhook_configs", "email_configs", "slack_configs", "msteamsv2_configs"],
        "email_configs" => &[
            "send_resolved",
            "to",
            "from",
            "smarthost",
            "hello",
            "auth_username",
            "auth_password",
            "auth_password_file",
            "require_tls",
            "tls_config",
        ],
        "slack_configs" => &["send_resolved", "api_url", "api_url_file", "http_config", "timeout"],
        "http_config" => &["follow_redirects", "enable_http2", "proxy_url", "tls_config"],
        "tls_config" | "smtp_tls_config" => &["ca_file"],
        _ => &[],
    }
}

/// Gathers what a file says beyond the subset: keys and their lines. Literal secrets in `global` are beyond it, and a
/// proxy that is no URL, which Alertmanager accepts and fails on when it first posts.
fn beyond(node: &Node, place: &str, found: &mut Vec<(String, u32)>) {
    match &node.tree {
        Tree::List(items) => items.iter().for_each(|item| beyond(item, place, found)),
        Tree::Map(entries) => {
            for (key, span, below) in entries {
                let undone = match (key.as_str(), &below.tree) {
                    ("proxy_url", Tree::Text(url)) => !url.starts_with("http://"),
                    ("follow_redirects", follow) => *follow == Tree::Bool(true),
                    _ => false,
                };
                if undone || !known(place).contains(&key.as_str()) {
                    found.push((key.clone(), span.line));
                } else if !known(key).is_empty() {
                    beyond(below, key, found);
                }
            }
        }
        _ => {}
    }
}

/// Puts a file of Alertmanager's under `alerting:`, and the files that it names where they can be found: Alertmanager
/// looks for those when it first needs them, and we at once.
fn ours(text: &str, dir: &Path) -> String {
    let secret = dir.join("secret");
    disk::write_atomic(&disk::OsDisk, &secret, b"https://hooks.example/x\n").expect("written");
    let line = |line: &str| match line.split_once("_file: ") {
        Some((key, _)) => format!("  {key}_file: {}\n", secret.display()),
        None => format!("  {line}\n"),
    };
    format!("alerting:\n{}", text.lines().map(line).collect::<String>())
}

fn problems_of(text: &str, dir: &Path) -> Vec<Problem> {
    let file = dir.join("dihya.yaml");
    disk::write_atomic(&disk::OsDisk, &file, text.as_bytes()).expect("written");
    read(Some(&file), dir).err().map(|rejected| rejected.problems).unwrap_or_default()
}

/// Where cases made by others lie; `None`, with the reason printed, where they are absent and that is allowed.
fn cases() -> Option<Vec<(String, String)>> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance/alertmanager/config");
    let says = |name: &str, value: &str| super::reference::env(name).is_some_and(|found| found == value);
    let must = says("CI", "true") && !says("DIHYA_CONFORMANCE", "absent");
    let Ok(entries) = std::fs::read_dir(&dir) else {
        assert!(!must, "the cases are missing");
        println!("skipped: the conformance cases of alertmanager are not here");
        return None;
    };
    let mut cases: Vec<(String, String)> = entries
        .map(|entry| {
            let path = entry.expect("an entry").path();
            let name = path.file_stem().and_then(|name| name.to_str()).expect("a name").trim_start_matches("conf.");
            (name.to_owned(), std::fs::read_to_string(&path).expect("reads"))
        })
        .collect();
    cases.sort();
    Some(cases)
}

#[test]
fn alertmanagers_own_files_are_read_alike_or_refused_by_name() {
    let Some(cases) = cases() else { return };
    let dir = tempfile::tempdir().expect("a directory");
    let (mut verdicts, mut subset, total) = (0, 0, cases.len());
    for (name, text) in cases {
        let text = ours(&text, dir.path());
        let problems = problems_of(&text, dir.path());
        let alike = problems.is_empty() == ACCEPTED.contains(&name.as_str());
        verdicts += usize::from(alike);
        let mut unsupported = Vec::new();
        let root = yaml::parse(&text).expect("is YAML");
        beyond(root.get("alerting").expect("is there"), "alerting", &mut unsupported);
        let named = |(key, line): &(String, u32)| {
            problems.iter().any(|p| p.span.line == *line && p.path.rsplit('.').next() == Some(key.as_str()))
        };
        let unnamed: Vec<_> = unsupported.iter().filter(|place| !named(place)).collect();
        let said: String = problems.iter().map(|problem| format!("{problem}\n")).collect();
        let reasoned = REASONS.iter().filter(|(case, _)| *case == name).all(|(_, reason)| said.contains(reason));
        let is_reason = REASONS.iter().any(|(case, _)| *case == name);
        // Without anything beyond the subset, it is for Alertmanager's reason that a file is refused.
        let whole = unnamed.is_empty() && reasoned && (alike || !unsupported.is_empty());
        let whole = whole && (problems.is_empty() || is_reason || !unsupported.is_empty());
        if !whole {
            println!("{name}: not named: {unnamed:?}; said:\n{said}");
        }
        subset += usize::from(whole);
    }
    println!("conformance: alertmanager-verdict passed {verdicts} of {total}");
    println!("conformance: alertmanager-subset passed {subset} of {total}");
    assert_eq!((verdicts, subset, total), (28, 46, 46));
}

#[test]
fn a_file_within_the_subset_is_accepted_whole() {
    let dir = tempfile::tempdir().expect("a directory");
    let text = "global:\n  smtp_smarthost: localhost:25\n  smtp_from: a@example.org\n  smtp_tls_config:\n      ca_file: ca.pem\n\
                route:\n  receiver: a\nreceivers:\n  - name: a\n    email_configs:\n      - to: b@example.org\n";
    assert_eq!(problems_of(&ours(text, dir.path()), dir.path()), []);
    // A key that is passed over in silence would be found: each that is beyond the subset is named at its line.
    for (key, line) in [("smtp_auth_identity: x", 7), ("smtp_auth_password: x", 7), ("smtp_tls: x", 7)] {
        let text = text.replace("route:", &format!("  {key}\nroute:"));
        let problems = problems_of(&ours(&text, dir.path()), dir.path());
        let lines: Vec<u32> = problems.iter().map(|problem| problem.span.line).collect();
        assert!(lines.contains(&line), "{key}: {problems:?}");
    }
}
