//! What is accepted, what is refused and how, and Alertmanager's own cases.

use std::path::PathBuf;

use model::Labels;
use saphyr_parser::{Event, Parser, ScalarStyle, Span as YamlSpan};

use super::*;
use model::config::Tree;

/// Reads YAML as far as these tests need it.
pub(crate) fn yaml(text: &str) -> Node {
    let mut events = Parser::new_from_str(text).map(|event| event.expect("YAML"));
    loop {
        match events.next() {
            Some((Event::StreamStart | Event::DocumentStart(_), _)) => {}
            Some((event, span)) => return node(event, span, &mut events),
            None => return Node { span: Span::default(), tree: Tree::Null },
        }
    }
}

fn node<'a>(event: Event<'a>, span: YamlSpan, events: &mut impl Iterator<Item = (Event<'a>, YamlSpan)>) -> Node {
    let at = |span: YamlSpan| Span {
        line: u32::try_from(span.start.line()).expect("small"),
        column: u32::try_from(span.start.col() + 1).expect("small"),
    };
    let tree = match event {
        Event::Scalar(text, ScalarStyle::Plain, _, _) => match text.as_ref() {
            "" | "~" | "null" => Tree::Null,
            "true" => Tree::Bool(true),
            "false" => Tree::Bool(false),
            text => text
                .parse()
                .map_or_else(|_| text.parse().map_or_else(|_| Tree::Text(text.to_owned()), Tree::Float), Tree::Int),
        },
        Event::Scalar(text, _, _, _) => Tree::Text(text.into_owned()),
        Event::SequenceStart(..) => {
            let mut items = Vec::new();
            loop {
                match events.next().expect("an end") {
                    (Event::SequenceEnd, _) => break Tree::List(items),
                    (event, span) => items.push(node(event, span, events)),
                }
            }
        }
        Event::MappingStart(..) => {
            let mut entries = Vec::new();
            loop {
                match events.next().expect("an end") {
                    (Event::MappingEnd, _) => break Tree::Map(entries),
                    (Event::Scalar(key, ..), span) => {
                        let (event, below) = events.next().expect("a value");
                        entries.push((key.into_owned(), at(span), node(event, below, events)));
                    }
                    other => panic!("unexpected {other:?}"),
                }
            }
        }
        other => panic!("unexpected {other:?}"),
    };
    Node { span: at(span), tree }
}

fn channels() -> BTreeSet<String> {
    ["mail".to_owned(), "pager".to_owned()].into()
}

pub(crate) fn read(text: &str) -> Result<Loaded, String> {
    load(Some(&yaml(text)), &channels())
        .map_err(|refused| refused.problems.iter().map(|problem| format!("{problem}\n")).collect::<String>())
}

fn labels(text: &str) -> Labels {
    text.split_whitespace()
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

const TREE: &str = r#"
route:
  receiver: 'notify-def'
  routes:
  - match:
      owner: 'team-A'
    receiver: 'notify-A'
    routes:
    - match:
        env: 'testing'
      receiver: 'notify-testing'
      group_by: [...]
    - match:
        env: "production"
      receiver: 'notify-productionA'
      group_wait: 1m
      continue: true
    - match_re:
        env: "produ.*"
        job: ".*"
      receiver: 'notify-productionB'
      group_wait: 30s
      group_interval: 5m
      repeat_interval: 1h
      group_by: ['job']
  - match_re:
      owner: 'team-(B|C)'
    group_by: ['foo', 'bar']
    group_wait: 2m
    receiver: 'notify-BC'
  - matchers: [ 'group_by = "role"' ]
    group_by: ['role']
    routes:
    - matchers: [ env=testing ]
      receiver: 'notify-testing'
      routes:
      - matchers: [ wait=long ]
        group_wait: 2m
receivers:
- name: notify-def
- name: notify-A
- name: notify-testing
- name: notify-productionA
- name: notify-productionB
- name: notify-BC
"#;

#[test]
fn routes_are_taken_as_alertmanager_takes_them() {
    // The tree and the expectations of dispatch/route_test.go.
    let config = read(TREE).expect("loads").config;
    for (alert, expected) in [
        ("owner=team-A", r#"notify-A {} 30s {}/{owner="team-A"}"#),
        ("owner=team-A env=unset", r#"notify-A {} 30s {}/{owner="team-A"}"#),
        ("owner=team-C", r#"notify-BC {"bar", "foo"} 120s {}/{owner=~"^(?:team-(B|C))$"}"#),
        ("owner=team-A env=testing", r#"notify-testing all 30s {}/{owner="team-A"}/{env="testing"}"#),
        (
            "owner=team-A env=production",
            concat!(
                r#"notify-productionA {} 60s {}/{owner="team-A"}/{env="production"}; "#,
                r#"notify-productionB {"job"} 30s {}/{owner="team-A"}/{env=~"^(?:produ.*)$",job=~"^(?:.*)$"}"#
            ),
        ),
        ("group_by=role", r#"notify-def {"role"} 30s {}/{group_by="role"}"#),
        ("env=testing group_by=role", r#"notify-testing {"role"} 30s {}/{group_by="role"}/{env="testing"}"#),
        (
            "env=testing group_by=role wait=long",
            r#"notify-testing {"role"} 120s {}/{group_by="role"}/{env="testing"}/{wait="long"}"#,
        ),
        ("a=b", "notify-def {} 30s {}"),
    ] {
        let found: Vec<String> = config
            .route
            .matching(&labels(alert))
            .into_iter()
            .map(|route| {
                let by = match &route.group_by {
                    GroupBy::All => "all".to_owned(),
                    GroupBy::Labels(names) => format!("{names:?}"),
                };
                format!("{} {by} {}s {}", route.receiver, route.group_wait.as_secs(), route.key)
            })
            .collect();
        assert_eq!(found.join("; "), expected, "{alert}");
    }
    let ids: BTreeSet<&str> = config.route.walk().map(|route| route.id.as_str()).collect();
    assert_eq!(ids.len(), config.route.walk().count(), "ids are unique");
}

#[test]
fn group_labels_leave_out_what_the_alert_lacks() {
    let config = read(TREE).expect("loads").config;
    let alert = labels("owner=team-B foo=1 z=2");
    let routes = config.route.matching(&alert);
    let group = routes[0].group_by.of(&alert);
    assert_eq!(routes[0].group_key(&group), r#"{}/{owner=~"^(?:team-(B|C))$"}:{foo="1"}"#);
    assert_ne!(routes[0].group_id(&group), config.route.group_id(&group));
    assert_eq!(GroupBy::All.of(&alert), alert);
}

#[test]
fn everything_the_subset_has_is_read() {
    let loaded = read(
        "
global: {resolve_timeout: 1m, smtp_smarthost: 'localhost:25', smtp_from: a@example.org}
route: {receiver: ops, group_wait: 0, group_by: []}
receivers:
- name: ops
  dihya_configs:
  - {channel: mail, language: FR, send_resolved: false}
  - {channel: log}
  webhook_configs: [{url: 'http://localhost/', send_resolved: false}]
  email_configs: [{to: a@example.org}, {to: b@example.org, send_resolved: true}]
dihya:
  reminder_interval: 30m
  give_up_after: 2d
  external_url: https://status.example/
  language: fr
  self_test: {interval: 6h, channels: [pager, ops/email/0]}
",
    )
    .unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(loaded.config.resolve_timeout, Duration::from_secs(60));
    let ways: Vec<(&str, bool, Option<Language>)> = loaded.config.receivers["ops"]
        .integrations
        .iter()
        .map(|integration| (integration.channel.as_str(), integration.send_resolved, integration.language))
        .collect();
    assert_eq!(
        ways,
        [
            ("mail", false, Some(Language::Fr)),
            ("log", true, None),
            ("ops/webhook/0", false, None),
            ("ops/email/0", false, None),
            ("ops/email/1", true, None),
        ]
    );
    assert_eq!(loaded.implicit[0].name, "ops/webhook/0");
    assert_eq!(loaded.implicit[0].node.to_json(), serde_json::json!({"url": "http://localhost/"}));
    assert_eq!(span_of(&loaded.implicit[0], "url").line, 9);
    assert_eq!(loaded.implicit[2].path, "alerting.receivers.0.email_configs.1");
    assert!(loaded.global.is_some());
    assert_eq!(
        loaded.config.dihya,
        Extras {
            reminder_interval: Some(Duration::from_secs(1800)),
            give_up_after: Duration::from_secs(2 * 86_400),
            external_url: "https://status.example".to_owned(),
            language: Language::Fr,
            self_test: Some(Duration::from_secs(6 * 3600)),
            self_test_channels: ["ops/email/0".to_owned(), "pager".to_owned()].into(),
        }
    );
}

#[test]
fn without_a_word_everything_goes_to_the_log() {
    let loaded = load(None, &BTreeSet::new()).expect("loads");
    let routes = loaded.config.route.matching(&labels("a=b"));
    assert_eq!(loaded.config.receivers[&routes[0].receiver].integrations[0].channel, "log");
}

#[test]
fn all_problems_come_at_once_with_their_places() {
    let problems = read(
        "
route:
  receiver: nobody
  continue: true
  matchers: ['a=b']
  group_by: ['...', x, x, '']
  group_interval: 0s
  group_wait: soon
  labels: {a: b}
  routes:
  - {receiver: nobody, match: {1a: b, c: [d]}, match_re: {e: '('}, matchers: ['{,}', [x]], continue: maybe}
  - {recever: ops, routes: 3}
  - just text
receivers:
- name: ops
  opsgenie_configs: [{}]
  dihya_configs: [{chanel: mail}, {channel: fax}, {channel: mail, language: de}, 7]
  webhook_configs: [1]
- name: ops
- name: ''
- 5
inhibit_rules: []
templates: []
rout: {}
global: {resolve_timeout: 0s, pagerduty_url: x, slack_api_url: a, slack_api_url_file: b}
dihya: {external_url: here, self_test: {channels: [fax, [1]]}, language: 3}
",
    )
    .expect_err("is refused");
    expect_test::expect_file!["../../testdata/config_problems.txt"].assert_eq(&problems);
}

#[test]
fn what_is_no_object_or_lacks_routes_is_refused() {
    for (text, expected) in [
        ("5", "1:1: alerting: expected keys with values (write {KEY: VALUE})\n"),
        (
            "{}",
            "1:1: alerting.route: no route is given, and one is needed to begin with (add `route: {receiver: NAME}`)\n",
        ),
        ("route: 5\nreceivers: []", "1:8: alerting.route: expected keys with values (write {KEY: VALUE})\n"),
        (
            "route: {group_by: []}",
            "1:8: alerting.route.receiver: the first route needs a receiver (add `receiver: NAME`)\n",
        ),
        ("route: {receiver: a}\nreceivers: {}", "expected a list"),
        (
            "route: {receiver: a}\nreceivers: [{name: a}]\nglobal: 3",
            "3:9: alerting.global: expected keys with values (write {KEY: VALUE})\n",
        ),
        (
            "route: {receiver: a}\nreceivers: [{name: a}]\ndihya: 3",
            "3:8: alerting.dihya: expected keys with values (write {KEY: VALUE})\n",
        ),
    ] {
        let problems = read(text).expect_err(text);
        assert!(problems.contains(expected), "{text}: {problems}");
    }
    let mut deep = "{receiver: a}".to_owned();
    for _ in 0..70 {
        deep = format!("{{receiver: a, routes: [{deep}]}}");
    }
    assert!(read(&format!("route: {deep}\nreceivers: [{{name: a}}]")).expect_err("deep").contains("nested"));
}

/// Where cases made by others lie; `None`, with the reason printed, where they are absent and that is allowed.
fn conformance(folder: &str) -> Option<Vec<(String, String)>> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance/alertmanager").join(folder);
    #[expect(clippy::disallowed_methods, reason = "a test asks whether it may be skipped")]
    let says = |name: &str, value: &str| std::env::var(name).is_ok_and(|found| found == value);
    let must = says("CI", "true") && !says("DIHYA_CONFORMANCE", "absent");
    let Ok(entries) = std::fs::read_dir(&dir) else {
        assert!(!must, "the cases are missing");
        println!("skipped: the conformance cases of alertmanager are not here");
        return None;
    };
    let mut files: Vec<(String, String)> = entries
        .map(|entry| {
            let entry = entry.expect("an entry");
            (entry.file_name().to_string_lossy().into_owned(), std::fs::read_to_string(entry.path()).expect("reads"))
        })
        .collect();
    files.sort();
    Some(files)
}

#[test]
fn alertmanagers_routing_cases_route_alike() {
    let Some(files) = conformance("routing") else { return };
    // Alertmanager's examples/ha and cli/testdata expectations: labels and the receivers `amtool config routes test`
    // names. `templates` is cut out before: it is refused by name (`alertmanager-subset`, in the crate `dihya`), and says
    // nothing about routes, which are what is measured here. Nothing else is cut, and what is refused fails the test.
    let cases = [
        ("conf.good.yml", "test=1", "default"),
        ("conf.routing.yml", "test=1", "test1"),
        ("conf.routing.yml", "test=2", "test1,test2"),
        ("conf.routing.yml", "test=3", "default"),
        ("conf.routing-reverted.yml", "test=1", "test1"),
        ("conf.routing-reverted.yml", "test=2", "test2,test1"),
        ("conf.routing-reverted.yml", "test=0", "default"),
    ];
    let mut passed = 0;
    for (name, alert, expected) in cases {
        let (_, text) = files.iter().find(|(file, _)| file == name).expect("is there");
        let mut node = yaml(text);
        if let Tree::Map(entries) = &mut node.tree {
            entries.retain(|(key, _, _)| key != "templates");
        }
        let config = load(Some(&node), &channels()).expect("loads").config;
        let found: Vec<&str> =
            config.route.matching(&labels(alert)).into_iter().map(|route| route.receiver.as_str()).collect();
        assert_eq!(found.join(","), expected, "{name} {alert}");
        passed += 1;
    }
    let bad = files.iter().find(|(file, _)| file == "conf.bad.yml").map(|(_, text)| read(text)).expect("is there");
    assert!(bad.is_err());
    println!("conformance: alertmanager-routing passed {} of {}", passed + 1, cases.len() + 1);
}
