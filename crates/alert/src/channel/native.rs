//! Native receiver configurations of Alertmanager (`webhook_configs` and its like) as channels of ours.
//!
//! A strict subset: what is not done here is refused by its key, never ignored. `*_file` keys are read through the
//! caller, since files are read in one place of the product.

use serde_json::{Map, Value, json};

use super::config::{Config, Wrong, read, wrong};

/// Reads a file that a configuration names, for `*_file` keys; `None` when it cannot.
pub type ReadFile<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Reads one entry of `kind` (`webhook_configs`, `email_configs`, `slack_configs`, `msteamsv2_configs`), with what
/// `alerting.global` says for all. `send_resolved` is for routing and is passed over here.
///
/// # Errors
/// All that is wrong: dotted path below the entry, message, suggestion.
pub fn native(
    kind: &str,
    entry: &Value,
    global: Option<&Value>,
    read_file: ReadFile<'_>,
) -> Result<Config, Vec<Wrong>> {
    let mut taker = Taker { problems: Vec::new(), read_file };
    let mut entry = taker.object(entry, "");
    let mut global = global.map(|value| taker.object(value, "global")).unwrap_or_default();
    entry.remove("send_resolved");
    let channel = match kind {
        "webhook_configs" => webhook(&mut taker, &mut entry, &mut global),
        "email_configs" => email(&mut taker, &mut entry, &mut global),
        "slack_configs" => chat(&mut taker, &mut entry, &mut global, "slack", "api_url", "slack_api_url"),
        "msteamsv2_configs" => chat(&mut taker, &mut entry, &mut global, "teams", "webhook_url", ""),
        _ => {
            taker.problems.push(wrong("", "this kind of receiver is not supported yet", None));
            Value::Null
        }
    };
    for key in entry.keys() {
        taker.problems.push(wrong(key, &format!("{key} is not supported yet"), None));
    }
    if !taker.problems.is_empty() {
        return Err(taker.problems);
    }
    let config = read(&json!({"x": channel})).ok().and_then(|mut read| read.remove("x"));
    let config = config.ok_or_else(|| vec![wrong("", "cannot read this receiver", None)])?;
    let problems = config.check();
    if problems.is_empty() { Ok(config) } else { Err(problems) }
}

/// Takes keys out of objects and remembers what is wrong with them.
struct Taker<'a> {
    problems: Vec<Wrong>,
    read_file: ReadFile<'a>,
}

impl Taker<'_> {
    fn object(&mut self, value: &Value, path: &str) -> Map<String, Value> {
        match value {
            Value::Object(map) => map.clone(),
            Value::Null => Map::new(),
            _ => {
                self.problems.push(wrong(path, "expected keys with values", None));
                Map::new()
            }
        }
    }

    /// Takes the text under `key`, or that of the file under `key_file`.
    fn text(&mut self, map: &mut Map<String, Value>, key: &str) -> Option<String> {
        let file = map.remove(&format!("{key}_file"));
        let text = match map.remove(key) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text),
            Some(Value::Number(number)) => Some(number.to_string()),
            Some(_) => {
                self.problems.push(wrong(key, "expected text", None));
                None
            }
        };
        match (text, file) {
            (Some(_), Some(_)) => {
                self.problems.push(wrong(key, &format!("at most one of {key} and {key}_file may be there"), None));
                None
            }
            (None, Some(Value::String(path))) => {
                let read = (self.read_file)(&path).map(|text| text.trim().to_owned());
                if read.is_none() {
                    self.problems.push(wrong(&format!("{key}_file"), "could not read the file", None));
                }
                read
            }
            (None, Some(_)) => {
                self.problems.push(wrong(&format!("{key}_file"), "expected a path", None));
                None
            }
            (text, None) => text,
        }
    }

    /// Reads `http_config`: authorisation, authorities, proxy.
    fn http(&mut self, config: Option<&Value>) -> Map<String, Value> {
        let mut channel = Map::new();
        let Some(config) = config else { return channel };
        let mut http = self.object(config, "http_config");
        // Redirects are never followed and HTTP/2 is never insisted on: both keys may say so.
        http.remove("follow_redirects");
        http.remove("enable_http2");
        let mut token = self.text(&mut http, "bearer_token");
        if let Some(authorization) = http.remove("authorization") {
            let mut authorization = self.object(&authorization, "http_config.authorization");
            let scheme = self.text(&mut authorization, "type").unwrap_or_else(|| "Bearer".to_owned());
            let credentials = self.text(&mut authorization, "credentials");
            if scheme.eq_ignore_ascii_case("bearer") {
                token = token.or(credentials);
            } else if let Some(credentials) = credentials {
                channel.insert("headers".to_owned(), json!({"Authorization": format!("{scheme} {credentials}")}));
            }
            self.refuse(&authorization, "http_config.authorization");
        }
        if let Some(basic) = http.remove("basic_auth") {
            use base64::Engine as _;
            let mut basic = self.object(&basic, "http_config.basic_auth");
            let user = self.text(&mut basic, "username").unwrap_or_default();
            let password = self.text(&mut basic, "password").unwrap_or_default();
            let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
            channel.insert("headers".to_owned(), json!({"Authorization": format!("Basic {encoded}")}));
            self.refuse(&basic, "http_config.basic_auth");
        }
        channel.extend(token.map(|token| ("bearer_token".to_owned(), token.into())));
        channel.extend(self.ca_file(&mut http, "http_config"));
        channel.extend(self.text(&mut http, "proxy_url").map(|proxy| ("proxy".to_owned(), proxy.into())));
        self.refuse(&http, "http_config");
        channel
    }

    fn ca_file(&mut self, map: &mut Map<String, Value>, path: &str) -> Option<(String, Value)> {
        let path = format!("{path}.tls_config");
        let mut tls = map.remove("tls_config").map(|tls| self.object(&tls, &path))?;
        // Alertmanager's `ca_file` is a path for us too, so it is not read here.
        let file = tls.remove("ca_file").filter(Value::is_string);
        self.refuse(&tls, &path);
        file.map(|file| ("ca_file".to_owned(), file))
    }

    fn refuse(&mut self, rest: &Map<String, Value>, path: &str) {
        for key in rest.keys() {
            self.problems.push(wrong(&format!("{path}.{key}"), &format!("{key} is not supported yet"), None));
        }
    }

    fn require(&mut self, text: Option<String>, key: &str) -> String {
        text.unwrap_or_else(|| {
            self.problems.push(wrong(key, &format!("{key} is missing"), None));
            String::new()
        })
    }
}

type Object = Map<String, Value>;

fn webhook(taker: &mut Taker<'_>, entry: &mut Object, global: &mut Object) -> Value {
    let http = entry.remove("http_config").or_else(|| global.remove("http_config"));
    let mut channel = taker.http(http.as_ref());
    let url = taker.text(entry, "url");
    channel.insert("kind".to_owned(), "webhook".into());
    channel.insert("url".to_owned(), taker.require(url, "url").into());
    channel.extend(entry.remove("max_alerts").map(|max| ("max_alerts".to_owned(), max)));
    // Alertmanager's 0s is no limit of its own; ours is the default.
    let timeout = taker.text(entry, "timeout").filter(|text| text != "0s");
    channel.extend(timeout.map(|text| ("timeout".to_owned(), text.into())));
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
    let http = entry.remove("http_config").or_else(|| global.remove("http_config"));
    let mut channel = taker.http(http.as_ref());
    for secret in ["bearer_token", "headers"] {
        if channel.remove(secret).is_some() {
            taker.problems.push(wrong("http_config", "authorization is not supported for chats yet", None));
        }
    }
    let url = taker.text(entry, key).or_else(|| taker.text(global, global_key));
    channel.insert("kind".to_owned(), kind.into());
    channel.insert("url".to_owned(), taker.require(url, key).into());
    let timeout = taker.text(entry, "timeout").filter(|text| text != "0s");
    channel.extend(timeout.map(|text| ("timeout".to_owned(), text.into())));
    Value::Object(channel)
}

fn email(taker: &mut Taker<'_>, entry: &mut Object, global: &mut Object) -> Value {
    let mut setting = |key: &str| taker.text(entry, key).or_else(|| taker.text(global, &format!("smtp_{key}")));
    let (from, server) = (setting("from"), setting("smarthost"));
    let (user, password, hello) = (setting("auth_username"), setting("auth_password"), setting("hello"));
    let to = taker.text(entry, "to");
    let from = taker.require(from, "from");
    let server = taker.require(server, "smarthost");
    let to: Vec<String> =
        taker.require(to, "to").split(',').map(|to| to.trim().to_owned()).filter(|to| !to.is_empty()).collect();
    let flag = |value: Option<Value>| value.and_then(|value| value.as_bool());
    let require_tls = flag(entry.remove("require_tls")).or_else(|| flag(global.remove("smtp_require_tls")));
    let tls = match require_tls {
        _ if server.ends_with(":465") => "implicit",
        Some(false) => "opportunistic",
        _ => "required",
    };
    let mut channel = Map::new();
    channel.extend(taker.ca_file(entry, ""));
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
    fn what_is_not_done_is_refused_by_its_key() {
        for (kind, entry, global, expected) in [
            ("webhook_configs", json!({}), json!({}), vec!["url: url is missing"]),
            ("webhook_configs", json!([]), json!(1), vec![": expected keys", "global: expected keys", "url: "]),
            (
                "webhook_configs",
                json!({"url": "https://h/", "url_file": "/run/secret", "payload": {}}),
                json!({}),
                vec!["url: at most one", "url: url is missing", "payload: payload is not supported yet"],
            ),
            (
                "webhook_configs",
                json!({"url": {}, "http_config": {"oauth2": {}, "tls_config": {"cert_file": "x"}}}),
                json!({}),
                vec![
                    "http_config.tls_config.cert_file: ",
                    "http_config.oauth2: ",
                    "url: expected text",
                    "url: url is missing",
                ],
            ),
            ("webhook_configs", json!({"url": "gopher://h"}), json!({}), vec!["url: expected a URL"]),
            ("webhook_configs", json!({"url": "https://h/", "max_alerts": "x"}), json!({}), vec![": cannot read"]),
            ("webhook_configs", json!({"url_file": "/nowhere"}), json!({}), vec!["url_file: could not", "url: "]),
            ("webhook_configs", json!({"url_file": 7}), json!({}), vec!["url_file: expected a path", "url: "]),
            (
                "slack_configs",
                json!({"api_url": "https://h/", "title": "{{ . }}", "http_config": {"bearer_token": 5}}),
                json!({}),
                vec!["http_config: authorization", "title: title is not supported yet"],
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
