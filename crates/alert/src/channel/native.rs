//! Native receiver configurations of Alertmanager (`webhook_configs` and its like) as channels of ours.
//!
//! A strict subset: what is not done here is refused by its key, never ignored. `*_file` keys are read through the
//! caller, since files are read in one place of the product.

use serde_json::{Map, Value, json};

use super::config::{Config, Wrong, read, wrong};
use crate::config::nearest;

/// Reads a file that a configuration names, for `*_file` keys; `None` when it cannot.
pub type ReadFile<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Reads one entry of `kind` (`webhook_configs`, `email_configs`, `slack_configs`, `msteamsv2_configs`), with what
/// `alerting.global` says for all. `send_resolved` is for routing and is passed over here.
///
/// # Errors
/// All that is wrong: dotted path below the entry, or `global.` and the path below `alerting.global`; message; suggestion.
pub fn native(
    kind: &str,
    entry: &Value,
    global: Option<&Value>,
    read_file: ReadFile<'_>,
) -> Result<Config, Vec<Wrong>> {
    let mut taker = Taker { problems: Vec::new(), places: Vec::new(), unread: Vec::new(), read_file };
    let mut entry = taker.object(entry, "");
    let mut global = global.map(|value| taker.object(value, "global")).unwrap_or_default();
    entry.remove("send_resolved");
    let channel = match kind {
        "webhook_configs" => webhook(&mut taker, &mut entry, &mut global),
        "email_configs" => email(&mut taker, &mut entry, &mut global),
        "slack_configs" => chat(&mut taker, &mut entry, &mut global, "slack", "api_url", "slack_api_url"),
        "msteamsv2_configs" => chat(&mut taker, &mut entry, &mut global, "teams", "webhook_url", ""),
        _ => {
            let hint = Some("remove it, or tell the same people through webhook_configs");
            taker.problems.push(wrong("", "this kind of receiver is not supported yet", hint));
            Value::Null
        }
    };
    taker.refuse(&entry, "");
    // What is wrong with the keys hides nothing that is wrong with their values.
    let config = read(&json!({"x": channel})).ok().and_then(|mut read| read.remove("x"));
    let found = config.as_ref().map(|config| taker.in_their_words(config.check())).unwrap_or_default();
    taker.problems.extend(found);
    match config {
        Some(config) if taker.problems.is_empty() => Ok(config),
        None if taker.problems.is_empty() => Err(vec![wrong("", "cannot read this receiver", None)]),
        _ => Err(taker.problems),
    }
}

/// The keys that are done, for the nearest of them to be told of where one is misspelt.
const KEYS: [&str; 28] = [
    "api_url",
    "auth_password",
    "auth_username",
    "authorization",
    "basic_auth",
    "bearer_token",
    "ca_file",
    "credentials",
    "enable_http2",
    "follow_redirects",
    "from",
    "hello",
    "http_config",
    "max_alerts",
    "password",
    "proxy_url",
    "require_tls",
    "send_resolved",
    "smarthost",
    "timeout",
    "tls_config",
    "to",
    "type",
    "url",
    "url_file",
    "username",
    "webhook_url",
    "webhook_url_file",
];

/// What stands for a text that could not be read, so that the rest is looked at all the same.
const STAND_IN: &str = "stand-in";

/// The keys of entries whose values are secrets.
pub const SECRETS: [&str; 6] = [
    "api_url",
    "webhook_url",
    "auth_password",
    "http_config.bearer_token",
    "http_config.authorization.credentials",
    "http_config.basic_auth.password",
];

/// Takes keys out of objects and remembers what is wrong with them.
struct Taker<'a> {
    problems: Vec<Wrong>,
    /// A key of ours and the path of Alertmanager's that its value came from.
    places: Vec<(&'static str, String)>,
    /// The paths whose values are missing or could not be read: that is said, and [`STAND_IN`] stands for them.
    unread: Vec<String>,
    read_file: ReadFile<'a>,
}

impl Taker<'_> {
    /// Says under Alertmanager's keys what is wrong under ours: those are the ones that stand in the file.
    fn in_their_words(&self, problems: Vec<Wrong>) -> Vec<Wrong> {
        let theirs = |key: &str| {
            let ours = key.split('.').next().unwrap_or_default();
            self.places.iter().find(|(place, _)| *place == ours).map(|(_, theirs)| theirs.clone())
        };
        let theirs = problems.into_iter().map(|(key, message, hint)| (theirs(&key).unwrap_or(key), message, hint));
        theirs.filter(|(path, _, _)| !self.unread.contains(path)).collect()
    }

    fn object(&mut self, value: &Value, path: &str) -> Object {
        match value {
            Value::Object(map) => map.clone(),
            Value::Null => Map::new(),
            _ => {
                self.problems.push(wrong(path, "expected keys with values", None));
                Map::new()
            }
        }
    }

    /// Takes the text under `key`, or that of the file under `key_file`. `path` is where `map` stands.
    fn text(&mut self, map: &mut Object, path: &str, key: &str) -> Option<String> {
        let key_file = format!("{key}_file");
        let file = map.remove(&key_file);
        let text = match map.remove(key) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text),
            Some(Value::Number(number)) => Some(number.to_string()),
            Some(_) => {
                return self.stand_in(&below(path, key), &below(path, key), "expected text", "write one text");
            }
        };
        match (text, file) {
            (Some(_), Some(_)) => {
                let message = format!("at most one of {key} and {key_file} may be there");
                self.stand_in(&below(path, key), &below(path, key), &message, "keep one of them")
            }
            (None, Some(Value::String(file))) => {
                let read = (self.read_file)(&file).map(|text| text.trim().to_owned());
                read.or_else(|| {
                    let hint = "write the path of a file that is there";
                    self.stand_in(&below(path, key), &below(path, &key_file), "could not read the file", hint)
                })
            }
            (None, Some(_)) => {
                self.stand_in(&below(path, key), &below(path, &key_file), "expected a path", "write it in quotes")
            }
            (text, None) => text,
        }
    }

    /// Says what is wrong at `path` and returns what stands for the text of `key`.
    fn stand_in(&mut self, key: &str, path: &str, message: &str, hint: &str) -> Option<String> {
        self.problems.push(wrong(path, message, Some(hint)));
        self.unread.push(key.to_owned());
        Some(STAND_IN.to_owned())
    }

    fn flag(&mut self, map: &mut Object, path: &str, key: &str) -> Option<bool> {
        match map.remove(key)? {
            Value::Null => None,
            Value::Bool(flag) => Some(flag),
            _ => {
                self.problems.push(wrong(&below(path, key), "expected true or false", Some("write true")));
                None
            }
        }
    }

    /// Takes what an entry says under `key`, or what `alerting.global` says of it for all entries.
    fn setting(&mut self, entry: &mut Object, global: &mut Object, key: &str, ours: &'static str) -> Option<String> {
        let common = format!("smtp_{key}");
        if let Some(text) = self.text(entry, "", key) {
            self.places.push((ours, key.to_owned()));
            return Some(text);
        }
        self.places.push((ours, below("global", &common)));
        self.text(global, "global", &common)
    }

    /// Takes `http_config`, the entry's or that of all, and where it stands.
    fn http_config(&mut self, entry: &mut Object, global: &mut Object) -> Option<(Object, &'static str)> {
        let (config, path) = match entry.remove("http_config") {
            Some(own) => (own, "http_config"),
            None => (global.remove("http_config")?, "global.http_config"),
        };
        Some((self.object(&config, path), path))
    }

    /// Reads `http_config`: authorisation, authorities, proxy.
    fn http(&mut self, mut http: Object, path: &str) -> Object {
        let mut channel = Map::new();
        // HTTP/2 is never insisted on: the key may say so.
        self.flag(&mut http, path, "enable_http2");
        if self.flag(&mut http, path, "follow_redirects") == Some(true) {
            let hint = Some("write false, or name the address that the endpoint redirects to");
            let message = "follow_redirects: true is not supported yet, redirects are never followed";
            self.problems.push(wrong(&below(path, "follow_redirects"), message, hint));
        }
        let mut token = self.text(&mut http, path, "bearer_token");
        self.places.push(("bearer_token", below(path, "bearer_token")));
        if let Some(authorization) = http.remove("authorization") {
            let path = below(path, "authorization");
            let mut authorization = self.object(&authorization, &path);
            let scheme = self.text(&mut authorization, &path, "type").unwrap_or_else(|| "Bearer".to_owned());
            let credentials = self.text(&mut authorization, &path, "credentials");
            if scheme.eq_ignore_ascii_case("bearer") {
                token = token.or(credentials);
            } else if let Some(credentials) = credentials {
                channel.insert("headers".to_owned(), json!({"Authorization": format!("{scheme} {credentials}")}));
            }
            self.refuse(&authorization, &path);
            self.places.push(("headers", path));
        }
        if let Some(basic) = http.remove("basic_auth") {
            use base64::Engine as _;
            let path = below(path, "basic_auth");
            let mut basic = self.object(&basic, &path);
            let user = self.text(&mut basic, &path, "username").unwrap_or_default();
            let password = self.text(&mut basic, &path, "password").unwrap_or_default();
            let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
            channel.insert("headers".to_owned(), json!({"Authorization": format!("Basic {encoded}")}));
            self.refuse(&basic, &path);
        }
        channel.extend(token.map(|token| ("bearer_token".to_owned(), token.into())));
        let tls = http.remove("tls_config");
        channel.extend(self.ca_file(tls, &below(path, "tls_config")));
        channel.extend(self.text(&mut http, path, "proxy_url").map(|proxy| ("proxy".to_owned(), proxy.into())));
        self.places.push(("proxy", below(path, "proxy_url")));
        self.refuse(&http, path);
        channel
    }

    /// Reads a `tls_config`, of which `ca_file` is all that we do.
    fn ca_file(&mut self, tls: Option<Value>, path: &str) -> Option<(String, Value)> {
        let mut tls = tls.map(|tls| self.object(&tls, path))?;
        // Alertmanager's `ca_file` is a path for us too, so it is not read here.
        let file = tls.remove("ca_file").filter(|file| !file.is_null());
        if file.as_ref().is_some_and(|file| !file.is_string()) {
            self.problems.push(wrong(&below(path, "ca_file"), "expected a path", Some("write it in quotes")));
        }
        self.refuse(&tls, path);
        file.filter(Value::is_string).map(|file| ("ca_file".to_owned(), file))
    }

    fn refuse(&mut self, rest: &Object, path: &str) {
        for key in rest.keys() {
            let near = nearest(key, &KEYS).map(|near| format!("did you mean {near}?"));
            let hint = near.as_deref().unwrap_or("remove the key");
            self.problems.push(wrong(&below(path, key), &format!("{key} is not supported yet"), Some(hint)));
        }
    }

    /// `ours` is the key of ours that the value is for.
    fn require(&mut self, text: Option<String>, key: &str, ours: &'static str) -> String {
        text.or_else(|| {
            self.places.insert(0, (ours, key.to_owned()));
            self.stand_in(key, key, &format!("{key} is missing"), &format!("add `{key}:`"))
        })
        .unwrap_or_default()
    }

    /// Alertmanager has no bound; ours is that of a channel.
    fn max_alerts(&mut self, entry: &mut Object) -> Option<(String, Value)> {
        let max = entry.remove("max_alerts").filter(|max| !max.is_null())?;
        if !max.is_u64() {
            self.problems.push(wrong("max_alerts", "expected a whole number", Some("write 0 for all")));
            return None;
        }
        Some(("max_alerts".to_owned(), max))
    }

    /// Alertmanager's 0s is no limit of its own; ours is the default.
    fn timeout(&mut self, entry: &mut Object) -> Option<(String, Value)> {
        let timeout = self.text(entry, "", "timeout").filter(|text| text != "0s" && text != STAND_IN)?;
        if model::config::parse_duration(&timeout).is_err() {
            let hint = Some("write a number and a unit such as 10s");
            self.problems.push(wrong("timeout", "expected a duration", hint));
            return None;
        }
        Some(("timeout".to_owned(), timeout.into()))
    }
}

type Object = Map<String, Value>;

fn below(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn webhook(taker: &mut Taker<'_>, entry: &mut Object, global: &mut Object) -> Value {
    let http = taker.http_config(entry, global);
    let mut channel = http.map(|(http, path)| taker.http(http, path)).unwrap_or_default();
    let url = taker.text(entry, "", "url");
    channel.insert("kind".to_owned(), "webhook".into());
    channel.insert("url".to_owned(), taker.require(url, "url", "url").into());
    channel.extend(taker.max_alerts(entry));
    channel.extend(taker.timeout(entry));
    Value::Object(channel)
}

fn chat(
    taker: &mut Taker<'_>,
    entry: &mut Object,
    global: &mut Object,
    kind: &str,
    key: &str,
    global_key: &str,
) -> Value {
    let mut channel = Map::new();
    if let Some((mut http, path)) = taker.http_config(entry, global) {
        for key in ["bearer_token", "bearer_token_file", "authorization", "basic_auth"] {
            if http.remove(key).is_some() {
                let message = format!("{key} is not supported yet for chats, whose address is the secret");
                taker.problems.push(wrong(&below(path, key), &message, Some("remove the key")));
            }
        }
        channel = taker.http(http, path);
    }
    let own = taker.text(entry, "", key);
    taker.places.push(("url", own.as_ref().map_or_else(|| below("global", global_key), |_| key.to_owned())));
    let url = own.or_else(|| taker.text(global, "global", global_key));
    channel.insert("kind".to_owned(), kind.into());
    channel.insert("url".to_owned(), taker.require(url, key, "url").into());
    channel.extend(taker.timeout(entry));
    Value::Object(channel)
}

fn email(taker: &mut Taker<'_>, entry: &mut Object, global: &mut Object) -> Value {
    let from = taker.setting(entry, global, "from", "from");
    let server = taker.setting(entry, global, "smarthost", "server");
    let user = taker.setting(entry, global, "auth_username", "username");
    let password = taker.setting(entry, global, "auth_password", "password");
    let hello = taker.setting(entry, global, "hello", "hello");
    let to = taker.text(entry, "", "to");
    let from = taker.require(from, "from", "from");
    let server = taker.require(server, "smarthost", "server");
    let to: Vec<String> =
        taker.require(to, "to", "to").split(',').map(|to| to.trim().to_owned()).filter(|to| !to.is_empty()).collect();
    taker.places.push(("to", "to".to_owned()));
    let own = taker.flag(entry, "", "require_tls");
    let require_tls = own.or_else(|| taker.flag(global, "global", "smtp_require_tls"));
    let tls = match require_tls {
        _ if server.ends_with(":465") => "implicit",
        Some(false) => "opportunistic",
        _ => "required",
    };
    let mut channel = Map::new();
    let (tls_config, path) = match entry.remove("tls_config") {
        Some(own) => (Some(own), "tls_config"),
        None => (global.remove("smtp_tls_config"), "global.smtp_tls_config"),
    };
    channel.extend(taker.ca_file(tls_config, path));
    for (key, value) in [("username", user), ("password", password), ("hello", hello)] {
        channel.extend(value.filter(|value| !value.is_empty()).map(|value| (key.to_owned(), value.into())));
    }
    channel.extend([
        ("kind".to_owned(), "email".into()),
        ("from".to_owned(), from.into()),
        ("server".to_owned(), server.into()),
        ("to".to_owned(), to.into()),
        ("tls".to_owned(), tls.into()),
    ]);
    Value::Object(channel)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::config::SmtpTls;

    fn read_file(path: &str) -> Option<String> {
        (path == "/run/secret").then(|| "from-file\n".to_owned())
    }

    fn keys(kind: &str, entry: &Value, global: &Value) -> Vec<String> {
        match native(kind, entry, Some(global), &read_file) {
            Ok(_) => Vec::new(),
            Err(problems) => problems.into_iter().map(|(key, message, _)| format!("{key}: {message}")).collect(),
        }
    }

    #[test]
    fn what_alertmanager_says_is_understood() {
        let Ok(Config::Webhook(webhook)) = native(
            "webhook_configs",
            &json!({"url": "https://h/x", "send_resolved": true, "max_alerts": 3, "timeout": "0s",
                    "http_config": {"authorization": {"credentials_file": "/run/secret"}, "follow_redirects": false,
                                    "tls_config": {"ca_file": "ca.pem"}, "proxy_url": "http://p:3128"}}),
            None,
            &read_file,
        ) else {
            panic!("is a webhook")
        };
        assert_eq!(webhook.bearer_token.expect("has one").expose(), "from-file");
        assert_eq!((webhook.max_alerts, webhook.proxy.as_deref()), (3, Some("http://p:3128")));
        assert_eq!(webhook.ca_file, Some("ca.pem".into()));

        let global = json!({"smtp_smarthost": "smtp.example.org:587", "smtp_from": "d@example.org", "smtp_auth_username": "d",
                            "smtp_auth_password_file": "/run/secret", "slack_api_url": "https://hooks.example.org/s",
                            "smtp_require_tls": false, "resolve_timeout": "5m"});
        let Ok(Config::Email(email)) =
            native("email_configs", &json!({"to": "a@example.org, b@example.org"}), Some(&global), &read_file)
        else {
            panic!("is e-mail")
        };
        assert_eq!((email.to.len(), email.tls), (2, SmtpTls::Opportunistic));
        assert_eq!(email.password.expect("has one").expose(), "from-file");
        let with_authorities =
            json!({"smtp_smarthost": "h:25", "smtp_from": "a@b.fr", "smtp_tls_config": {"ca_file": "ours.pem"}});
        for (entry, expected) in [
            (json!({"to": "a@b.fr"}), Some("ours.pem")),
            (json!({"to": "a@b.fr", "tls_config": {"ca_file": "own.pem"}}), Some("own.pem")),
            (json!({"to": "a@b.fr", "tls_config": {}}), None),
        ] {
            let Ok(Config::Email(email)) = native("email_configs", &entry, Some(&with_authorities), &read_file) else {
                panic!("is e-mail")
            };
            assert_eq!(email.ca_file.as_deref(), expected.map(std::path::Path::new));
        }
        let tls_of = |entry: Value| match native("email_configs", &entry, None, &read_file) {
            Ok(Config::Email(email)) => email.tls,
            other => panic!("{other:?}"),
        };
        assert_eq!(tls_of(json!({"to": "a@b.fr", "from": "a@b.fr", "smarthost": "h:465"})), SmtpTls::Implicit);
        assert_eq!(tls_of(json!({"to": "a@b.fr", "from": "a@b.fr", "smarthost": "h:25"})), SmtpTls::Required);

        let slack = native("slack_configs", &json!({"timeout": "3s"}), Some(&global), &read_file).expect("is Slack");
        assert_eq!(slack.kind(), "slack");
        let teams = native("msteamsv2_configs", &json!({"webhook_url_file": "/run/secret"}), None, &|_| {
            Some("https://t.example.org/w".to_owned())
        });
        assert_eq!(teams.expect("is Teams").kind(), "teams");
    }

    #[test]
    fn credentials_of_every_kind_become_headers() {
        for (http, expected) in [
            (json!({"basic_auth": {"username": "u", "password": "p"}}), "Basic dTpw"),
            (json!({"authorization": {"type": "Token", "credentials": "t"}}), "Token t"),
        ] {
            let entry = json!({"url": "https://h/", "http_config": http});
            let Ok(Config::Webhook(webhook)) = native("webhook_configs", &entry, None, &read_file) else {
                panic!("is a webhook")
            };
            assert_eq!(webhook.headers["Authorization"].expose(), expected);
        }
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "one table, a line per key")]
    fn what_is_not_done_is_refused_by_its_key() {
        for (kind, entry, global, expected) in [
            ("webhook_configs", json!({}), json!({}), vec!["url: url is missing"]),
            ("webhook_configs", json!([]), json!(1), vec![": expected keys", "global: expected keys", "url: "]),
            (
                "webhook_configs",
                json!({"url": "https://h/", "url_file": "/run/secret", "payload": {}}),
                json!({}),
                vec!["url: at most one", "payload: payload is not supported yet"],
            ),
            (
                "webhook_configs",
                json!({"url": {}, "http_config": {"oauth2": {}, "tls_config": {"cert_file": "x"}}}),
                json!({}),
                vec!["http_config.tls_config.cert_file: ", "http_config.oauth2: ", "url: expected text"],
            ),
            ("webhook_configs", json!({"url": "gopher://h"}), json!({}), vec!["url: expected a URL"]),
            (
                "webhook_configs",
                json!({"url": "nope", "bogus": 1, "timeout": "soon"}),
                json!({}),
                vec!["timeout: expected a duration", "bogus: bogus is not supported yet", "url: expected a URL"],
            ),
            (
                "webhook_configs",
                json!({"url": "https://h/", "max_alerts": "x"}),
                json!({}),
                vec!["max_alerts: expected a whole number"],
            ),
            ("webhook_configs", json!({"url_file": "/nowhere"}), json!({}), vec!["url_file: could not"]),
            ("webhook_configs", json!({"url_file": 7}), json!({}), vec!["url_file: expected a path"]),
            (
                "slack_configs",
                json!({"api_url": "https://h/", "title": "{{ . }}", "http_config": {"bearer_token": 5}}),
                json!({}),
                vec!["http_config.bearer_token: bearer_token is not", "title: title is not supported yet"],
            ),
            (
                "slack_configs",
                json!({"http_config": {"authorization": {"credentials": "x"}, "proxy_url": "foo"}}),
                json!({"slack_api_url": "https://h/"}),
                vec!["http_config.authorization: authorization is not", "http_config.proxy_url: expected http://"],
            ),
            // What `global` says is wrong there, and under Alertmanager's names.
            (
                "slack_configs",
                json!({}),
                json!({"slack_api_url": "https://h/", "http_config": {"proxy_url": "foo"}}),
                vec!["global.http_config.proxy_url: expected http://host:port"],
            ),
            ("slack_configs", json!({}), json!({"slack_api_url": "h"}), vec!["global.slack_api_url: expected a URL"]),
            ("msteamsv2_configs", json!({"webhook_url": "h"}), json!({}), vec!["webhook_url: expected a URL"]),
            (
                "webhook_configs",
                json!({"url": "https://h/"}),
                json!({"http_config": {"follow_redirects": true, "enable_http2": "x", "bearer_token": "a\nb"}}),
                vec![
                    "global.http_config.enable_http2: expected true or false",
                    "global.http_config.follow_redirects: follow_redirects: true is not supported yet",
                    "global.http_config.bearer_token: holds a line break",
                ],
            ),
            (
                "webhook_configs",
                json!({"url": "https://h/", "http_config": {"bearer_token": "a\nb"}}),
                json!({}),
                vec!["http_config.bearer_token: holds a line break"],
            ),
            (
                "webhook_configs",
                json!({"url": "https://h/", "http_config": {"authorization": {"type": "x", "credentials": "a\nb"}}}),
                json!({}),
                vec!["http_config.authorization: cannot send this header"],
            ),
            (
                "email_configs",
                json!({"to": "nobody", "auth_username": "u", "require_tls": "no"}),
                json!({"smtp_from": "a@b.fr", "smtp_smarthost": "h:25", "smtp_require_tls": false,
                       "smtp_tls_config": {"ca_file": 5, "insecure_skip_verify": true}}),
                vec![
                    "require_tls: expected true or false",
                    "global.smtp_tls_config.ca_file: expected a path",
                    "global.smtp_tls_config.insecure_skip_verify: insecure_skip_verify is not supported yet",
                    "to: expected an e-mail address",
                    "auth_username: username and password go together",
                ],
            ),
            (
                "email_configs",
                json!({"to": "nobody", "auth_username": "u"}),
                json!({"smtp_from": "nobody", "smtp_smarthost": "h"}),
                vec![
                    "global.smtp_from: expected an e-mail address",
                    "to: expected an e-mail address",
                    "global.smtp_smarthost: expected host:port",
                    "auth_username: username and password go together",
                ],
            ),
            (
                "email_configs",
                json!({"to": "a@b.fr", "tls_config": {"server_name": "h"}}),
                json!({"smtp_from": "a@b.fr", "smtp_smarthost": "h:25", "smtp_auth_password_file": "/nowhere"}),
                vec![
                    "global.smtp_auth_password_file: could not read",
                    "tls_config.server_name: server_name is not supported yet",
                    "global.smtp_auth_username: username and password go together",
                ],
            ),
            ("email_configs", json!({"html": "x"}), json!({}), vec!["from: ", "smarthost: ", "to: ", "html: "]),
            ("pigeon_configs", json!({}), json!({}), vec![": this kind"]),
        ] {
            let found = keys(kind, &entry, &global);
            assert_eq!(found.len(), expected.len(), "{entry}: {found:?}");
            for (found, expected) in found.iter().zip(expected) {
                assert!(found.starts_with(expected), "{entry}: {found} is not {expected}");
            }
        }
    }
}
