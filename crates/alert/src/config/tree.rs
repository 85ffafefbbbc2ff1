//! `alerting:` node by node.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::config::{Node, Tree};
use model::label::is_label_name;
use model::{MatchOp, Matcher};

use super::read::{Object, Reader};
use super::{Config, DEFAULT_CHANNEL, Extras, Implicit, Integration, NATIVE, RESOLVE_TIMEOUT, Receiver};
use crate::matcher::{self, Match, MatcherError};
use crate::notification::Language;
use crate::route::{GroupBy, Route};

const ROOT_KEYS: [&str; 4] = ["global", "route", "receivers", "dihya"];
const ROOT_LATER: [&str; 6] =
    ["templates", "inhibit_rules", "time_intervals", "mute_time_intervals", "tracing", "event_recorder"];
const GLOBAL_KEYS: [&str; 12] = [
    "resolve_timeout",
    "smtp_from",
    "smtp_smarthost",
    "smtp_hello",
    "smtp_auth_username",
    "smtp_auth_password",
    "smtp_auth_password_file",
    "smtp_require_tls",
    "smtp_tls_config",
    "slack_api_url",
    "slack_api_url_file",
    "http_config",
];
/// Of Alertmanager's `GlobalConfig`, what this version does not do, and what belongs to channels that it does not have.
const GLOBAL_LATER: [&str; 30] = [
    "smtp_auth_identity",
    "smtp_auth_secret",
    "smtp_auth_secret_file",
    "smtp_force_implicit_tls",
    "slack_app_token",
    "slack_app_token_file",
    "slack_app_url",
    "pagerduty_url",
    "opsgenie_api_url",
    "opsgenie_api_key",
    "opsgenie_api_key_file",
    "wechat_api_url",
    "wechat_api_secret",
    "wechat_api_secret_file",
    "wechat_api_corp_id",
    "victorops_api_url",
    "victorops_api_key",
    "victorops_api_key_file",
    "telegram_api_url",
    "telegram_bot_token",
    "telegram_bot_token_file",
    "webex_api_url",
    "jira_api_url",
    "rocketchat_api_url",
    "rocketchat_token",
    "rocketchat_token_file",
    "rocketchat_token_id",
    "rocketchat_token_id_file",
    "mattermost_webhook_url",
    "mattermost_webhook_url_file",
];
const ROUTE_KEYS: [&str; 10] = [
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
];
const ROUTE_LATER: [&str; 3] = ["mute_time_intervals", "active_time_intervals", "labels"];
const RECEIVER_KEYS: [&str; 6] =
    ["name", "dihya_configs", "webhook_configs", "email_configs", "slack_configs", "msteamsv2_configs"];
const RECEIVER_LATER: [&str; 15] = [
    "labels",
    "discord_configs",
    "incidentio_configs",
    "jira_configs",
    "mattermost_configs",
    "msteams_configs",
    "opsgenie_configs",
    "pagerduty_configs",
    "pushover_configs",
    "rocketchat_configs",
    "sns_configs",
    "telegram_configs",
    "victorops_configs",
    "webex_configs",
    "wechat_configs",
];

pub(super) fn config(reader: &mut Reader, node: &Node, channels: &BTreeSet<String>) -> Option<Config> {
    let root = reader.object(node, "alerting", &ROOT_KEYS, &ROOT_LATER)?;
    let mut resolve_timeout = RESOLVE_TIMEOUT;
    if let Some(node) = root.get("global") {
        let global = reader.object(node, "alerting.global", &GLOBAL_KEYS, &GLOBAL_LATER);
        for (one, other) in [("smtp_auth_password", "smtp_auth_password_file"), ("slack_api_url", "slack_api_url_file")]
        {
            if node.get(one).is_some() && node.get(other).is_some() {
                let message = format!("at most one of {one} and {other} can be given");
                reader.report(
                    node.span,
                    &format!("alerting.global.{other}"),
                    message,
                    Some("keep one of them".to_owned()),
                );
            }
        }
        resolve_timeout =
            global.and_then(|global| reader.interval(&global, "resolve_timeout")).unwrap_or(resolve_timeout);
    }
    let receivers = receivers(reader, &root, channels);
    let dihya = root.get("dihya").map_or_else(Extras::default, |node| extras(reader, node, channels));
    let Some(node) = root.get("route") else {
        reader.report(
            root.span,
            "alerting.route",
            "no route is given, and one is needed to begin with",
            Some("add `route: {receiver: NAME}`".to_owned()),
        );
        return None;
    };
    let route = route(reader, node, "alerting.route", None, 0)?;
    undefined(reader, &route, node, "alerting.route", &receivers);
    Some(Config { resolve_timeout, route, receivers, dihya })
}

fn receivers(reader: &mut Reader, root: &Object<'_>, channels: &BTreeSet<String>) -> BTreeMap<String, Receiver> {
    let mut found = BTreeMap::new();
    for (i, node) in reader.list(root, "receivers").iter().enumerate() {
        let path = format!("alerting.receivers.{i}");
        let Some(object) = reader.object(node, &path, &RECEIVER_KEYS, &RECEIVER_LATER) else { continue };
        let Some(name) = reader.text(&object, "name").filter(|name| !name.is_empty()) else {
            let suggestion = Some("add `name:`, which routes use".to_owned());
            reader.report(node.span, &object.below("name"), "a receiver needs a name", suggestion);
            // What is wrong inside is said all the same.
            receiver(reader, &object, &format!("receiver-{i}"), channels);
            continue;
        };
        let receiver = receiver(reader, &object, &name, channels);
        if found.insert(name.clone(), receiver).is_some() {
            reader.report(
                node.span,
                &object.below("name"),
                format!("the receiver {name} is there already"),
                Some("give it another name".to_owned()),
            );
        }
    }
    found
}

fn receiver(reader: &mut Reader, object: &Object<'_>, name: &str, channels: &BTreeSet<String>) -> Receiver {
    let mut integrations = Vec::new();
    for (i, node) in reader.list(object, "dihya_configs").iter().enumerate() {
        let path = object.below(&format!("dihya_configs.{i}"));
        let Some(own) = reader.object(node, &path, &["channel", "send_resolved", "language"], &[]) else { continue };
        let Some(channel) = reader.text(&own, "channel") else {
            reader.report(
                node.span,
                &own.below("channel"),
                "expected the name of a channel",
                Some("add `channel: log`".to_owned()),
            );
            continue;
        };
        known_channel(reader, node, &own.below("channel"), &channel, channels);
        let send_resolved = reader.bool(&own, "send_resolved").unwrap_or(true);
        let language = language(reader, &own);
        integrations.push(Integration { channel, send_resolved, language });
    }
    for (kind, resolved) in NATIVE {
        for (i, node) in reader.list(object, kind).iter().enumerate() {
            let path = object.below(&format!("{kind}.{i}"));
            let Some(own) = reader.map(node, &path) else { continue };
            let send_resolved = reader.bool(&own, "send_resolved").unwrap_or(resolved);
            let channel = format!("{name}/{}/{i}", kind.strip_suffix("_configs").unwrap_or(kind));
            integrations.push(Integration { channel: channel.clone(), send_resolved, language: None });
            let rest = own.entries().iter().filter(|(key, _, _)| key != "send_resolved").cloned().collect();
            let node = Node { span: node.span, tree: Tree::Map(rest) };
            reader.implicit.push(Implicit { name: channel, kind, path, node });
        }
    }
    Receiver { integrations }
}

fn known_channel(reader: &mut Reader, node: &Node, path: &str, channel: &str, channels: &BTreeSet<String>) {
    if channel != DEFAULT_CHANNEL && !channels.contains(channel) {
        let known: Vec<&str> = channels.iter().map(String::as_str).take(8).collect();
        let suggestion = format!("declare it under channels, which has {}", known.join(", "));
        reader.report(node.span, path, format!("there is no channel {channel}"), Some(suggestion));
    }
}

fn language(reader: &mut Reader, object: &Object<'_>) -> Option<Language> {
    let text = reader.text(object, "language")?;
    let language = match text.to_ascii_lowercase().as_str() {
        "en" => Some(Language::En),
        "fr" => Some(Language::Fr),
        _ => None,
    };
    if language.is_none() {
        let span = object.get("language").map_or(object.span, |node| node.span);
        reader.report(span, &object.below("language"), "expected en or fr", Some("write en".to_owned()));
    }
    language
}

fn extras(reader: &mut Reader, node: &Node, channels: &BTreeSet<String>) -> Extras {
    let defaults = Extras::default();
    let known = ["reminder_interval", "give_up_after", "external_url", "language", "self_test"];
    let Some(object) = reader.object(node, "alerting.dihya", &known, &[]) else { return defaults };
    let (mut self_test, mut self_test_channels) = (defaults.self_test, BTreeSet::new());
    if let Some(test) = object
        .get("self_test")
        .and_then(|node| reader.object(node, "alerting.dihya.self_test", &["interval", "channels"], &[]))
    {
        self_test = reader.duration(&test, "interval").map_or(self_test, |d| Some(d).filter(|d| !d.is_zero()));
        for (i, node) in reader.list(&test, "channels").iter().enumerate() {
            let path = test.below(&format!("channels.{i}"));
            let Some(channel) = reader.scalar(node, &path) else { continue };
            // Implicit channels are known by their shape: their receivers are read apart.
            if !channel.contains('/') {
                known_channel(reader, node, &path, &channel, channels);
            }
            self_test_channels.insert(channel);
        }
    }
    let external_url = reader.text(&object, "external_url").unwrap_or_default();
    if !external_url.is_empty() && !url::Url::parse(&external_url).is_ok_and(|url| url.has_host()) {
        let span = object.get("external_url").map_or(object.span, |node| node.span);
        reader.report(
            span,
            "alerting.dihya.external_url",
            "expected a URL such as https://status.example",
            Some("write https://HOST".to_owned()),
        );
    }
    Extras {
        reminder_interval: reader.interval(&object, "reminder_interval"),
        give_up_after: reader.interval(&object, "give_up_after").unwrap_or(defaults.give_up_after),
        external_url: external_url.trim_end_matches('/').to_owned(),
        language: language(reader, &object).unwrap_or_default(),
        self_test,
        self_test_channels,
    }
}

/// Deepest nesting of routes.
const DEPTH_MAX: usize = 64;

fn route(reader: &mut Reader, node: &Node, path: &str, parent: Option<(&Route, usize)>, depth: usize) -> Option<Route> {
    if depth > DEPTH_MAX {
        reader.report(
            node.span,
            path,
            format!("routes are nested more than {DEPTH_MAX} deep"),
            Some("write matchers instead of further levels".to_owned()),
        );
        return None;
    }
    let object = reader.object(node, path, &ROUTE_KEYS, &ROUTE_LATER)?;
    let mut matchers = matchers(reader, &object);
    matchers.sort_by_key(sort_key);
    let set = matchers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let (id, key) = match parent {
        None => (format!("{{{set}}}"), format!("{{{set}}}")),
        Some((parent, i)) => (format!("{}/{{{set}}}/{i}", parent.id), format!("{}/{{{set}}}", parent.key)),
    };
    let continues = reader.bool(&object, "continue").unwrap_or(false);
    let receiver = reader.text(&object, "receiver").unwrap_or_default();
    if parent.is_none() {
        check_first(reader, (node, path), !matchers.is_empty(), continues, &receiver);
    }
    let inherited = |of: fn(&Route) -> Duration, default| parent.map_or(default, |(parent, _)| of(parent));
    let group_by = group_by(reader, &object)
        .or_else(|| parent.map(|(parent, _)| parent.group_by.clone()))
        .unwrap_or(GroupBy::Labels(BTreeSet::new()));
    let mut route = Route {
        id,
        key,
        matchers,
        continues,
        receiver: match parent {
            Some((parent, _)) if receiver.is_empty() => parent.receiver.clone(),
            _ => receiver,
        },
        group_by,
        group_wait: reader
            .duration(&object, "group_wait")
            .unwrap_or_else(|| inherited(|r| r.group_wait, Route::GROUP_WAIT)),
        group_interval: reader
            .interval(&object, "group_interval")
            .unwrap_or_else(|| inherited(|r| r.group_interval, Route::GROUP_INTERVAL)),
        repeat_interval: reader
            .interval(&object, "repeat_interval")
            .unwrap_or_else(|| inherited(|r| r.repeat_interval, Route::REPEAT_INTERVAL)),
        routes: Vec::new(),
    };
    let mut children = Vec::new();
    for (i, node) in reader.list(&object, "routes").iter().enumerate() {
        children.extend(self::route(reader, node, &format!("{path}.routes.{i}"), Some((&route, i)), depth + 1));
    }
    route.routes = children;
    Some(route)
}

/// What holds for the first route alone: it takes what no other does.
fn check_first(reader: &mut Reader, (node, path): (&Node, &str), has_matchers: bool, continues: bool, receiver: &str) {
    if has_matchers {
        reader.report(
            node.span,
            path,
            "the first route must not have matchers: it takes what no other does",
            Some("move them to a route under routes".to_owned()),
        );
    }
    if continues {
        reader.report(
            node.span,
            path,
            "the first route cannot continue: nothing stands beside it",
            Some("remove the key".to_owned()),
        );
    }
    if receiver.is_empty() {
        reader.report(
            node.span,
            &format!("{path}.receiver"),
            "the first route needs a receiver",
            Some("add `receiver: NAME`".to_owned()),
        );
    }
}

/// Alertmanager sorts matchers by name, value and operator, and the order shows in group keys.
fn sort_key(matcher: &Match) -> (String, String, u8) {
    let Matcher { name, op, value } = matcher.matcher();
    (name.clone(), value.clone(), *op as u8)
}

fn group_by(reader: &mut Reader, object: &Object<'_>) -> Option<GroupBy> {
    let node = object.get("group_by")?;
    let path = object.below("group_by");
    let mut names = Vec::new();
    for (i, item) in reader.list(object, "group_by").iter().enumerate() {
        names.extend(reader.scalar(item, &format!("{path}.{i}")));
    }
    let mut labels: BTreeSet<String> = names.iter().filter(|name| *name != "...").cloned().collect();
    let all = labels.len() < names.iter().collect::<BTreeSet<_>>().len();
    if all && !labels.is_empty() {
        reader.report(
            node.span,
            &path,
            "'...' stands for all labels and cannot stand beside others",
            Some("write ['...'] alone".to_owned()),
        );
    }
    if names.iter().filter(|name| *name != "...").count() > labels.len() {
        reader.report(node.span, &path, "a label stands there twice", Some("keep one of them".to_owned()));
    }
    if labels.remove("") {
        reader.report(node.span, &path, "a label needs a name", Some("remove it".to_owned()));
    }
    Some(if all { GroupBy::All } else { GroupBy::Labels(labels) })
}

fn matchers(reader: &mut Reader, object: &Object<'_>) -> Vec<Match> {
    let mut found = Vec::new();
    for (key, op) in [("match", MatchOp::Equal), ("match_re", MatchOp::Matches)] {
        let path = object.below(key);
        let Some(map) = object.get(key).and_then(|node| reader.map(node, &path)) else { continue };
        for (name, span, node) in map.entries() {
            let below = map.below(name);
            if !is_label_name(name) {
                reader.report(
                    *span,
                    &below,
                    "expected the name of a label",
                    Some("write letters, digits and `_`".to_owned()),
                );
                continue;
            }
            let Some(value) = reader.scalar(node, &below) else { continue };
            // Alertmanager keeps the anchored form of `match_re`, which shows in group keys.
            let value = if op == MatchOp::Matches { format!("^(?:{value})$") } else { value };
            let made = Match::new(Matcher { name: name.clone(), op, value });
            found.extend(noted(reader, node, &below, made));
        }
    }
    for (i, node) in reader.list(object, "matchers").iter().enumerate() {
        let path = object.below(&format!("matchers.{i}"));
        let Some(text) = reader.scalar(node, &path) else { continue };
        found.extend(noted(reader, node, &path, matcher::parse(&text)).into_iter().flatten());
    }
    found
}

fn noted<T>(reader: &mut Reader, node: &Node, path: &str, made: Result<T, MatcherError>) -> Option<T> {
    made.map_err(|error| {
        reader.report(
            node.span,
            path,
            error.to_string(),
            Some(r#"write NAME="VALUE", or NAME=~"EXPRESSION""#.to_owned()),
        )
    })
    .ok()
}

/// Finds routes to receivers that are not there.
fn undefined(reader: &mut Reader, route: &Route, node: &Node, path: &str, receivers: &BTreeMap<String, Receiver>) {
    if let Some(name) = node.get("receiver")
        && !route.receiver.is_empty()
        && !receivers.contains_key(&route.receiver)
    {
        let message = format!("there is no receiver {}", route.receiver);
        reader.report(name.span, &format!("{path}.receiver"), message, Some("declare it under receivers".into()));
    }
    let Some(Tree::List(nodes)) = node.get("routes").map(|node| &node.tree) else { return };
    // A child that could not be read was reported; the rest cannot be told apart and waits for the next reading.
    if nodes.len() == route.routes.len() {
        for (i, (child, node)) in route.routes.iter().zip(nodes).enumerate() {
            undefined(reader, child, node, &format!("{path}.routes.{i}"), receivers);
        }
    }
}
