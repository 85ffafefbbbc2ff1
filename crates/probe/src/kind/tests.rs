//! The kinds that need no server of their own, each run once.

use std::time::Duration;

use model::{Clock, State, StepClock, Timestamp};
use serde_json::{Value as Json, json};

use crate::board::Standing;
use crate::config::Config;
use crate::heartbeat::Ping;
use crate::schedule::run_once;
use crate::testing::{check, means, means_with, observe, observe_with};
use std::sync::Arc;

#[tokio::test]
async fn the_canary_is_seen_down() {
    let result = observe(json!({"kind": "canary"})).await;
    assert_eq!((result.state, result.reason.as_str()), (State::Down, "could not connect: connection refused"));
}

#[tokio::test]
async fn this_host_and_its_disk_are_looked_at() {
    let host = observe(json!({"kind": "host", "load_per_cpu_max": 1_000_000, "conditions": "cpus >= 1.0"})).await;
    assert_eq!((host.state, host.reason.as_str()), (State::Up, ""));
    assert!(host.figures["uptime_seconds"] > 0.0);
    let disk = observe(json!({"kind": "disk", "path": "/", "degraded_percent": 100, "down_percent": 100,
        "conditions": "total_bytes > 0.0 && !read_only"}))
    .await;
    assert_eq!((disk.state, disk.reason.as_str()), (State::Up, ""));
    let gone = observe(json!({"kind": "disk", "path": "/no/such/path"})).await;
    assert_eq!((gone.state, gone.reason.as_str()), (State::Down, "there is no such path"));
    let below_a_file = observe(json!({"kind": "disk", "path": "/proc/version/x"})).await;
    assert_eq!(below_a_file.reason, "the file system does not answer");
}

fn shell(script: &str) -> Json {
    json!({"kind": "exec", "command": ["/bin/sh", "-c", script], "timeout": "5s"})
}

#[tokio::test]
async fn plugins_tell_by_their_exit_code() {
    for (script, state, reason) in [
        ("echo 'OK - fine|time=0.5s;1;2'", State::Up, ""),
        ("echo 'WARN - slow'; exit 1", State::Degraded, "WARN - slow"),
        ("echo 'CRIT'; exit 2", State::Down, "CRIT"),
        ("exit 2", State::Down, "the plugin says critical"),
        ("echo oops >&2; exit 1", State::Degraded, "oops"),
        ("echo '?'; exit 3", State::Unknown, "?"),
        ("exit 99", State::Unknown, "the plugin ended with exit code 99"),
        ("exec /no/such/program", State::Unknown, "/bin/sh: 1: exec: /no/such/program: not found"),
        ("kill -9 $$", State::Unknown, "the plugin was killed by a signal"),
    ] {
        let result = observe(shell(script)).await;
        assert_eq!((result.state, result.reason.as_str()), (state, reason), "{script}");
    }
    let mut check = shell("echo \"$A:$HOME:$(pwd):$LANG|a=1;;; b=2%\"");
    check["env"] = json!({"A": "x"});
    check["working_dir"] = "/tmp".into();
    check["conditions"] = json!(["output == 'x::/tmp:C.UTF-8'", "exit_code == 0", "perfdata.b_percent == 2.0"]);
    let result = observe(check).await;
    assert_eq!((result.state, result.reason.as_str()), (State::Up, ""));
    assert_eq!(result.figures.into_iter().collect::<Vec<_>>(), [("a".to_owned(), 1.0), ("b_percent".to_owned(), 2.0)]);
}

#[tokio::test]
async fn plugins_that_do_not_end_are_killed_with_their_children() {
    let dir = tempfile::tempdir().expect("a directory");
    let pid = dir.path().join("pid");
    let mut check = shell(&format!("sleep 600 & echo $! > {}; wait", pid.display()));
    check["timeout"] = "1500ms".into();
    let result = observe(check).await;
    assert_eq!((result.state, result.reason.as_str()), (State::Down, "the plugin did not end in time and was killed"));
    let pid = std::fs::read_to_string(pid).expect("the child said who it is");
    let stat = || std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    // Killed at once; when it is reaped is up to who adopted it.
    let gone = async {
        while !(stat().is_empty() || stat().contains(") Z ")) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gone).await.expect("the child was killed too");
    let mut flood = shell("while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done");
    flood["timeout"] = "300ms".into();
    assert_eq!(observe(flood).await.state, State::Down);
}

#[tokio::test]
async fn plugins_that_cannot_be_started_are_our_fault() {
    for (command, reason) in [
        ("/no/such/plugin", "the plugin, or its working directory, is not there"),
        ("/etc/passwd", "the plugin may not be run"),
    ] {
        let result = observe(json!({"kind": "exec", "command": [command]})).await;
        assert_eq!((result.state, result.reason.as_str()), (State::Unknown, reason));
    }
    let means = means();
    let all = means.plugins.acquire_many(u32::try_from(model::limits::PLUGINS_RUNNING_MAX).expect("small")).await;
    let mut waiting = shell("exit 0");
    waiting["timeout"] = "50ms".into();
    let result = observe_with(waiting, &means).await;
    assert_eq!((result.state, result.reason.as_str()), (State::Unknown, "too many checks of its kind are running"));
    drop(all);
    for bad in [json!([]), json!(["check_ping"])] {
        assert!(Config::read(&json!({"c": {"kind": "exec", "command": bad}}), &Json::Null).is_err());
    }
}

/// A plugin that got its turn late was given what was left of its time-out, and was down for want of it.
#[tokio::test]
async fn the_time_out_of_a_plugin_counts_from_its_start() {
    let means = means();
    let all = Arc::clone(&means.plugins);
    let all = all.acquire_many_owned(u32::try_from(model::limits::PLUGINS_RUNNING_MAX).expect("small")).await;
    let mut late = shell("sleep 0.6");
    late["timeout"] = "1s".into();
    let (result, ()) = tokio::join!(observe_with(late, &means), async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        drop(all);
    });
    assert_eq!((result.state, result.reason.as_str()), (State::Up, ""));
}

/// Plugins that hang held all permits, and those of others were never run.
#[tokio::test]
async fn plugins_that_hang_leave_room_for_those_that_end() {
    use model::limits::{PLUGINS_RUNNING_MAX, PLUGINS_SLOW_MAX};

    let means = means();
    let mut hanging = shell("sleep 600");
    hanging["timeout"] = "30ms".into();
    let hanging = check(hanging);
    let look = || run_once(std::slice::from_ref(&hanging), &means, 1);
    assert_eq!(look().await[0].state, State::Down);
    let permits = hanging.probe.begin(&means).expect("it waits").await;
    assert_eq!(means.plugins_slow.available_permits(), PLUGINS_SLOW_MAX - 1, "it did not end in time before");
    drop(permits);
    let slow = means.plugins_slow.acquire_many(u32::try_from(PLUGINS_SLOW_MAX).expect("small")).await;
    let result = look().await.remove(0);
    assert_eq!((result.state, means.plugins.available_permits()), (State::Unknown, PLUGINS_RUNNING_MAX));
    assert_eq!(observe_with(shell("exit 0"), &means).await.state, State::Up);
    drop(slow);
}

fn beating(extra: Json) -> Json {
    let mut check = json!({"kind": "heartbeat", "interval": "1h", "grace": "5m"});
    for (key, value) in extra.as_object().into_iter().flatten() {
        check[key] = value.clone();
    }
    check
}

#[tokio::test]
async fn a_heartbeat_is_late_only_after_its_grace() {
    let clock = Arc::new(StepClock::new(Timestamp::UNIX_EPOCH));
    let means = means_with(Arc::clone(&clock) as Arc<dyn Clock>);
    let declared = check(beating(json!({"max_runtime": "10m", "conditions": "exit_code == 0 || runtime != null"})));
    let look = async || run_once(&[Arc::clone(&declared)], &means, 1).await.remove(0);
    let said = async || {
        let result = look().await;
        (result.state, result.reason)
    };
    let told = |state: State, reason: &str| (state, reason.to_owned());
    let minutes = |minutes: u64| clock.advance(Duration::from_secs(minutes * 60));
    assert_eq!(said().await, told(State::Unknown, "not declared: signs of life are received by a server only"));
    means.heartbeats.declare([("c", "c")], &*clock);
    // Nothing is due yet: that is no blindness, which would be an alert.
    assert_eq!(said().await, told(State::Up, ""));
    minutes(66);
    assert_eq!(said().await, told(State::Down, "no sign of life yet, and one is due"));
    assert_eq!(means.heartbeats.ping("c", Ping::Start, &*clock).as_deref(), Some("c"));
    minutes(5);
    means.heartbeats.ping("c", Ping::Success, &*clock);
    let result = look().await;
    assert_eq!(
        (result.state, result.figures["runtime_seconds"], result.figures["age_seconds"]),
        (State::Up, 300.0, 0.0)
    );
    minutes(64);
    assert_eq!(said().await.0, State::Up, "within its grace");
    // A clock that jumps a day does not make it late.
    clock.jump(86_400_000);
    assert_eq!(said().await.0, State::Up);
    minutes(2);
    assert_eq!(said().await, told(State::Down, "no sign of life for 66 min, expected every 60 min"));
    means.heartbeats.ping("c", Ping::Exit(3), &*clock);
    assert_eq!(said().await, told(State::Down, "reported failure, exit code 3"));
    means.heartbeats.ping("c", Ping::Fail, &*clock);
    assert_eq!(said().await, told(State::Down, "reported failure, exit code 1"));
    means.heartbeats.ping("c", Ping::Success, &*clock);
    means.heartbeats.ping("c", Ping::Start, &*clock);
    minutes(11);
    assert_eq!(said().await, told(State::Down, "started 11 min ago and has not ended"));
    // Declared again it keeps its signs; what is no longer declared is forgotten.
    means.heartbeats.declare([("c", "c"), ("d", "d")], &*clock);
    assert!(means.heartbeats.beats("c").expect("declared").started.is_some());
    // Under another name it is the same job.
    means.heartbeats.declare([("new-secret", "c"), ("d", "d")], &*clock);
    assert!(means.heartbeats.beats("new-secret").expect("declared").started.is_some());
    means.heartbeats.declare([("d", "d")], &*clock);
    assert_eq!(means.heartbeats.ping("c", Ping::Success, &*clock), None);
    assert_eq!(means.heartbeats.check_of("c"), None);
}

/// The last sign was forgotten at a restart: one that was overdue was expected anew, for a day where it comes daily.
#[tokio::test]
async fn a_restart_neither_hides_a_missed_heartbeat_nor_makes_one() {
    let at = |text: &str| text.parse::<Timestamp>().expect("a time");
    let kept = |ended: Option<&str>| crate::Kept {
        declared: at("2025-12-01T00:00:00Z"),
        started: None,
        ended: ended.map(at),
        exit: 0,
        took: Some(Duration::from_secs(60)),
    };
    let (up, down) = (State::Up, State::Down);
    let hourly = json!({"interval": "1h", "grace": "1m"});
    let late = crate::Kept { started: Some(at("2026-01-01T23:00:00Z")), ..kept(Some("2026-01-01T23:30:00Z")) };
    let running = crate::Kept { started: Some(at("2026-01-01T23:57:00Z")), ..kept(Some("2026-01-01T23:30:00Z")) };
    let runs = json!({"interval": "1h", "grace": "1m", "max_runtime": "10m"});
    // What was kept, whether it was down, and the states at minutes since the start.
    for (job, kept, was_down, states) in [
        // Due after the start, it is missed when it is due and not an hour later.
        (hourly.clone(), kept(Some("2026-01-01T23:10:00Z")), false, vec![(0, up), (10, up), (12, down)]),
        // Due while nobody listened: whoever tries again is waited for, and nobody for a day.
        (hourly.clone(), kept(Some("2026-01-01T22:00:00Z")), false, vec![(0, up), (5, up), (6, down)]),
        (json!({"interval": "1d"}), kept(Some("2025-12-31T23:00:00Z")), false, vec![(4, up), (6, down)]),
        (json!({"interval": "1m", "grace": "1m"}), kept(Some("2026-01-01T23:00:00Z")), false, vec![(2, up), (3, down)]),
        (json!({"interval": "1d", "grace": "1h"}), kept(None), false, vec![(59, up), (61, down)]),
        // Down before, it is down until a sign.
        (hourly.clone(), kept(Some("2026-01-01T22:00:00Z")), true, vec![(0, down), (9, down)]),
        (hourly.clone(), crate::Kept { exit: 3, ..kept(Some("2026-01-01T23:59:00Z")) }, false, vec![(0, down)]),
        // From the future: just now.
        (hourly, kept(Some("2026-01-03T00:00:00Z")), false, vec![(0, up), (60, up), (62, down)]),
        // The end of a run may have been said while nobody listened, but not of one that is still allowed.
        (runs.clone(), late, false, vec![(0, up), (9, up)]),
        (runs, running, false, vec![(0, up), (6, up), (8, down)]),
    ] {
        let clock = Arc::new(StepClock::new(at("2026-01-02T00:00:00Z")));
        let means = means_with(Arc::clone(&clock) as Arc<dyn Clock>);
        means.heartbeats.remember("c", kept);
        means.heartbeats.declare([("c", "c")], &*clock);
        if was_down {
            means.heartbeats.restore_down("c");
        }
        let mut now = 0;
        for (minute, state) in states {
            clock.advance(Duration::from_secs((minute - now) * 60));
            now = minute;
            let result = run_once(&[check(beating(job.clone()))], &means, 1).await.remove(0);
            assert_eq!(result.state, state, "{job} {kept:?} at {minute}: {}", result.reason);
        }
        means.heartbeats.ping("c", Ping::Success, &*clock);
        let result = run_once(&[check(beating(job))], &means, 1).await.remove(0);
        assert_eq!(result.state, up, "{}", result.reason);
        assert_eq!(means.heartbeats.kept_of("c").and_then(|kept| kept.ended), Some(clock.now()));
        assert_eq!(means.heartbeats.kept().len(), 1);
    }
    assert!(Config::read(&json!({"c": {"kind": "heartbeat", "ping_id": "a b"}}), &Json::Null).is_err());
}

#[tokio::test]
async fn a_group_counts_its_members() {
    let means = means();
    let mut template = observe_with(json!({"kind": "canary"}), &means).await;
    let mut set = |id: &str, state: State| {
        template.id = id.to_owned();
        (template.state, template.observed) = (state, state);
        means.board.set(Arc::new(Standing { result: template.clone(), flapping: false }));
    };
    for (id, state) in [
        ("u1", State::Up),
        ("u2", State::Up),
        ("g", State::Degraded),
        ("d1", State::Down),
        ("d2", State::Down),
        ("x", State::Unknown),
    ] {
        set(id, state);
    }
    for (members, least, state, reason) in [
        (vec!["u1", "u2"], None, State::Up, ""),
        (vec!["u1", "g"], None, State::Degraded, "1 of 2 are up"),
        (vec!["u1", "u2", "d1"], Some(2), State::Degraded, "2 of 3 are up"),
        (vec!["u1", "d1", "d2"], Some(2), State::Down, "1 of 3 are up, it takes 2; not: d1, d2"),
        (vec!["u1", "d1", "x"], Some(2), State::Unknown, "1 of 3 are up, it takes 2; not: x"),
        (vec!["new", "d1", "x"], Some(3), State::Down, "0 of 3 are up, it takes 3; not: d1"),
    ] {
        let mut group = json!({"kind": "group", "members": members, "conditions": "members == up + down + unknown"});
        if let Some(least) = least {
            group["at_least"] = least.into();
        }
        let mut checks: serde_json::Map<_, _> =
            members.iter().map(|id| ((*id).to_owned(), json!({"kind": "canary"}))).collect();
        checks.insert("c".to_owned(), group);
        let config = Config::read(&checks.into(), &Json::Null).expect("sound");
        let group = config.checks.iter().find(|check| &*check.id == "c").expect("there");
        let result = run_once(&[Arc::clone(group)], &means, 1).await.remove(0);
        assert_eq!((result.state, result.reason.as_str()), (state, reason), "{members:?}");
    }
    let early = json!({"u1": {"kind": "canary"}, "new": {"kind": "canary"}, "c": {"kind": "group", "members": ["u1", "new"], "at_least": 1}});
    let config = Config::read(&early, &Json::Null).expect("sound");
    let group = config.checks.iter().find(|check| &*check.id == "c").expect("there");
    assert!(run_once(&[Arc::clone(group)], &means, 1).await.is_empty(), "new was not looked at");
    for bad in [json!({"members": []}), json!({"members": ["a"], "at_least": 2}), json!({"members": 1})] {
        assert!((super::group::KIND.build)(&bad).is_err(), "{bad}");
    }
}

#[tokio::test]
async fn run_once_runs_groups_after_their_members() {
    let checks = json!({
        "a-outer": {"kind": "group", "members": ["b-inner"]},
        "b-inner": {"kind": "group", "members": ["z-down"]},
        "z-down": {"kind": "canary"},
    });
    let config = Config::read(&checks, &Json::Null).expect("sound");
    let results = run_once(&config.checks, &means(), 2).await;
    let states: Vec<_> = results.iter().map(|result| (result.id.as_str(), result.state)).collect();
    assert_eq!(states, [("a-outer", State::Down), ("b-inner", State::Down), ("z-down", State::Down)]);
    assert!(run_once(&[], &means(), 0).await.is_empty());
}

#[test]
fn kinds_name_themselves_and_count_their_descriptors() {
    for (check, descriptors) in [
        (json!({"kind": "http", "url": "http://[::1]/"}), 1),
        (json!({"kind": "http", "url": "http://a.example/"}), 2),
        (json!({"kind": "tcp", "address": "127.0.0.1:1"}), 1),
        (json!({"kind": "tls", "address": "a.example:1"}), 2),
        (json!({"kind": "dns", "query": "a.example"}), 2),
        (json!({"kind": "heartbeat"}), 0),
        (json!({"kind": "exec", "command": ["/bin/true"]}), 6),
        (json!({"kind": "host"}), 1),
        (json!({"kind": "disk", "path": "/"}), 0),
        (json!({"kind": "canary"}), 2),
    ] {
        let read = check["kind"].as_str().map(str::to_owned);
        let made = self::check(check);
        assert_eq!(Some(made.probe.kind().to_owned()), read);
        assert_eq!(made.probe.descriptors(), descriptors, "{read:?}");
        assert!(made.probe.members().is_empty());
    }
    let group = super::group::KIND.build;
    let group = group(&json!({"members": ["a"]})).expect("sound");
    assert_eq!((group.kind(), group.descriptors(), group.members()), ("group", 0, &["a".to_owned()][..]));
}
