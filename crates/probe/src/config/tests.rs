//! Checks as operators write them, rightly and wrongly.

use serde_json::json;

use super::*;

fn issues(checks: Json) -> Vec<(String, String)> {
    check(&checks, &Json::Null).into_iter().map(|issue| (issue.path, issue.message)).collect()
}

fn one(check: Json) -> Arc<Check> {
    Config::read(&json!({ "c": check }), &Json::Null).expect("sound").checks.remove(0)
}

#[test]
fn defaults_are_those_of_the_kind() {
    let check = one(json!({"kind": "HTTP", "url": "http://a/"}));
    assert_eq!((&*check.id, check.name.as_str(), check.kind.name), ("c", "c", "http"));
    assert_eq!((check.interval, check.timeout, check.retry_interval).0, Duration::from_secs(60));
    assert_eq!((check.timeout, check.retry_interval), (Duration::from_secs(10), Duration::from_secs(15)));
    assert_eq!(check.thresholds, Thresholds { failure: 2, success: 1 });
    assert_eq!((check.severity, check.sector), (Severity::Critical, Sector::default()));
    assert!(check.conditions.reads().contains("status") && check.conditions.reads().contains("tls"));
    assert_eq!((check.heartbeat(), check.probe.descriptors(), check.probe.kind()), (None, 2, "http"));
    let beat = one(json!({"kind": "heartbeat", "interval": "1h"}));
    assert_eq!((beat.heartbeat(), beat.thresholds.failure), (Some("c"), 1));
    assert_eq!((beat.cadence(), beat.interval), (Duration::from_secs(30), Duration::from_secs(3_600)));
    assert_eq!(one(json!({"kind": "heartbeat", "ping_id": "x-1"})).heartbeat(), Some("x-1"));
    assert_eq!(format!("{check:?}"), r#"Check { id: "c", kind: "http", .. }"#);
}

#[test]
fn everything_said_is_taken() {
    let check = one(json!({"kind": "tcp", "address": "127.0.0.1:1", "name": "N", "description": "D", "group": "G",
        "sector": "santé", "severity": "WARN", "labels": {"team": "a"}, "interval": "4s", "timeout": "2s",
        "retry_interval": "500ms", "failure_threshold": 3, "success_threshold": 2, "conditions": "1 == 1",
        "degraded_if": ["1 == 2"], "tenant": "clinic"}));
    assert_eq!((check.name.as_str(), check.description.as_str(), check.group.as_str()), ("N", "D", "G"));
    assert_eq!((check.sector, check.severity, check.labels["team"].as_str()), (Sector::Health, Severity::Warning, "a"));
    assert_eq!(check.thresholds, Thresholds { failure: 3, success: 2 });
    assert_eq!((check.retry_interval, check.tenant.as_str()), (Duration::from_millis(500), "clinic"));
    let off = Config::read(&json!({"c": {"kind": "canary", "enabled": false}}), &Json::Null).expect("sound");
    assert!(off.checks.is_empty());
    let quick = one(json!({"kind": "canary", "interval": "2s"}));
    assert_eq!((quick.timeout, quick.retry_interval), (Duration::from_secs(2), Duration::from_secs(1)));
}

#[tokio::test]
async fn checks_of_tenants_do_not_reach_into_the_operators_network() {
    use crate::schedule::run_once;

    let reason = async |more: Json| {
        let mut check = json!({"kind": "tcp", "address": "127.0.0.1:1"});
        for (key, value) in more.as_object().into_iter().flatten() {
            check[key] = value.clone();
        }
        run_once(&[one(check)], &crate::testing::means(), 1).await.remove(0).reason
    };
    let refused = "could not resolve the name: its address is not public, and deny_private is set";
    assert_eq!(reason(json!({"tenant": "clinic"})).await, refused);
    for allowed in [json!({}), json!({"tenant": "default"}), json!({"tenant": "clinic", "deny_private": false})] {
        assert_eq!(reason(allowed).await, "could not connect: connection refused");
    }
}

/// Nobody looks at a member that is disabled, and the group waited for it for ever.
#[test]
fn members_that_are_disabled_do_not_count() {
    let read = |group: Json| {
        let off = json!({"kind": "canary", "enabled": false});
        let json = json!({"a": {"kind": "canary"}, "b": off, "c": off, "g": group});
        Config::read(&json, &Json::Null).map(|config| config.checks.last().cloned())
    };
    let group = read(json!({"kind": "group", "members": ["a", "b"], "at_least": 2})).expect("sound").expect("there");
    assert_eq!(group.probe.members(), ["a"]);
    let none = read(json!({"kind": "group", "members": ["b", "c"]})).expect_err("refused");
    assert_eq!((none[0].path.as_str(), none[0].message.as_str()), ("checks.g.members", "all of them are disabled"));
    let off = read(json!({"kind": "group", "members": ["b"], "at_least": 1, "enabled": false})).expect("sound");
    assert_eq!(&*off.expect("the other").id, "a");
    let unknown = read(json!({"kind": "group", "members": ["b", "nobody", "a"]})).expect_err("refused");
    assert_eq!(unknown[0].message, "there is no check nobody");
    assert_eq!(
        (unknown[0].path.as_str(), unknown[0].suggestion.as_deref()),
        ("checks.g.members.0", Some("there are a, b, c, g"))
    );
}

#[test]
fn all_problems_come_at_once_with_their_paths() {
    let found = issues(json!({
        "a b": {"kind": "canary"},
        "b": {"kind": "nonsense"},
        "c": {"kind": "http", "url": "x", "conditions": ["status ==", "nope == 1"], "degraded_if": "("},
        "d": {"kind": "canary", "interval": "10s", "timeout": "20s", "name": "", "tenant": "A B", "sector": "war",
              "severity": "loud", "labels": {"a-b": "c"}},
        "e": {"kind": "canary", "interval": "10ms", "timeout": "1h"},
        "f": {"kind": "canary", "interval": "often"},
        "g": {"kind": "canary", "depends_on": ["canaries", "d"]},
        "h": {"interval": "1m"},
    }));
    let paths: Vec<_> = found.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "checks.a b",
            "checks.b.kind",
            "checks.c.conditions.0",
            "checks.c.conditions.1",
            "checks.c.degraded_if.0",
            "checks.c.url",
            "checks.d.name",
            "checks.d.tenant",
            "checks.d.sector",
            "checks.d.severity",
            "checks.d.labels.a-b",
            "checks.d.timeout",
            "checks.e.interval",
            "checks.e.timeout",
            "checks.e.timeout",
            "checks.f",
            "checks.h.kind",
            "checks.g.depends_on.0",
        ]
    );
    let many: serde_json::Map<_, _> = (0..70).map(|n| (format!("l{n}"), json!("x"))).collect();
    assert_eq!(issues(json!({"a": {"kind": "canary", "labels": many}}))[0].0, "checks.a.labels");
}

#[test]
fn what_is_named_must_be_there_and_nothing_waits_for_itself() {
    let canary = || json!({"kind": "canary"});
    let found = Config::read(&json!({"alpha": canary(), "b": {"kind": "canary", "depends_on": "alhpa"}}), &Json::Null);
    let issue = found.expect_err("unknown").remove(0);
    assert_eq!(
        (issue.path.as_str(), issue.suggestion.as_deref()),
        ("checks.b.depends_on.0", Some("did you mean alpha?"))
    );
    let far = Config::read(&json!({"alpha": canary(), "b": {"kind": "canary", "depends_on": "zzzzzzz"}}), &Json::Null);
    assert_eq!(far.expect_err("unknown")[0].suggestion.as_deref(), Some("there are alpha, b"));
    let group = |members: Json| json!({"kind": "group", "members": members});
    for checks in [
        json!({"a": {"kind": "canary", "depends_on": "a"}}),
        json!({"a": {"kind": "canary", "depends_on": "b"}, "b": group(json!(["c"])), "c": group(json!(["a"]))}),
    ] {
        let found = issues(checks);
        assert!(found[0].1.starts_with("depends on itself"), "{found:?}");
    }
    let diamond = json!({"a": {"kind": "canary", "depends_on": ["b", "c"]}, "b": {"kind": "canary", "depends_on": "d"},
        "c": {"kind": "canary", "depends_on": ["d", "b"]}, "d": canary()});
    assert_eq!(issues(diamond), []);
    let windows = json!({"w": {"checks": ["a", "x"], "at": "01:00"}, "v": {"checks": "a", "at": "25:00"}});
    let paths: Vec<_> = check(&json!({"a": canary()}), &windows).into_iter().map(|issue| issue.path).collect();
    assert_eq!(paths, ["maintenance.v.at", "maintenance.w.checks.1"]);
    let windows = json!({"w": {"checks": ["a", "x"], "at": "01:00"}});
    let paths: Vec<_> = check(&json!({"a": canary()}), &windows).into_iter().map(|issue| issue.path).collect();
    assert_eq!(paths, ["maintenance.w.checks.1"]);
    let config = Config::read(&json!({"a": canary()}), &json!({"w": {"checks": "a", "at": "01:00"}})).expect("sound");
    let at = "2026-01-01T01:30:00Z".parse().expect("a time");
    assert_eq!(config.in_maintenance("a", at).map(|window| window.id.as_str()), Some("w"));
    assert_eq!(config.in_maintenance("b", at), None);
}

/// A kind that is not known hid conditions that are none, and a problem of a check hid what it depends on.
#[test]
fn no_problem_of_a_check_hides_another() {
    let found = issues(json!({
        "g": {"kind": "htttp", "depends_on": "nothere", "conditions": "status ==", "severity": "hot"},
        "h": {"kind": "icmp", "host": "a b", "count": 99, "depends_on": ["g", "nothere"], "timeout": "90s"},
        "m": {"kind": "group", "members": ["h", "nobody"], "interval": "10ms"},
    }));
    let paths: Vec<_> = found.iter().map(|(path, _)| path.as_str()).collect();
    let expected = [
        "checks.g.severity",
        "checks.g.kind",
        "checks.g.conditions.0",
        "checks.h.host",
        "checks.h.count",
        "checks.h.timeout",
        "checks.m.interval",
        "checks.g.depends_on.0",
        "checks.h.depends_on.1",
        "checks.m.members.1",
    ];
    for path in expected {
        assert!(paths.contains(&path), "{path} in {paths:?}");
    }
}

#[test]
fn every_kind_has_its_tables() {
    let Ty::Map(Ty::Tagged { tag, common, variants }) = &TY else { panic!("checks are a map of tagged objects") };
    assert_eq!((*tag, variants.len()), ("kind", kind::KINDS.len()));
    let taken: HashSet<_> = common.fields.iter().map(|field| field.key).collect();
    for (name, spec) in *variants {
        let kind = kind::find(name).expect("listed");
        let mut keys = HashSet::new();
        for field in spec.fields {
            assert!(keys.insert(field.key) && !taken.contains(field.key), "{name}.{} is declared twice", field.key);
            assert!(!field.doc.is_empty());
        }
        let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let (up, degraded) = (own(kind.defaults.conditions), own(kind.defaults.degraded_if));
        Conditions::compile(&up, &degraded, kind.facts).expect("defaults compile");
        assert!(kind.facts.iter().all(|fact| !fact.doc.is_empty()), "{name}");
    }
}

#[test]
fn names_are_as_far_apart_as_the_edits_between_them() {
    for (a, b, expected) in [("", "", 0), ("abc", "", 3), ("kitten", "sitting", 3), ("a", "a", 0)] {
        assert_eq!(distance(a, b), expected);
    }
}
