//! The scheduler under a time that only moves when everything waits.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicUsize};

use model::{BoxFuture, Clock, State, Timestamp};
use serde_json::json;

use super::*;
use crate::kind::{Ctx, Observation, Probe, canary};
use crate::maintenance::Windows;
use crate::testing::means_with;
use crate::track::Thresholds;

/// Civil and monotonic time that follow tokio's, and a jump to add.
struct TokioClock {
    start: Instant,
    jump_ms: AtomicI64,
}

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        let elapsed = i64::try_from(self.monotonic().as_millis()).expect("short");
        Timestamp::from_millisecond(1_800_000_000_000 + elapsed + self.jump_ms.load(Ordering::SeqCst))
            .expect("in range")
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

fn clock() -> Arc<TokioClock> {
    Arc::new(TokioClock { start: Instant::now(), jump_ms: AtomicI64::new(0) })
}

/// What a fake probe does next; the last is repeated.
#[derive(Clone)]
enum Act {
    Up,
    Down,
    Takes(Duration),
    Never,
    Panic,
}

#[derive(Default)]
struct Fake {
    acts: Mutex<VecDeque<Act>>,
    runs: Mutex<Vec<Instant>>,
    heartbeat: Option<String>,
    running: AtomicUsize,
}

impl Fake {
    fn new(acts: impl IntoIterator<Item = Act>) -> Arc<Self> {
        Arc::new(Self { acts: Mutex::new(acts.into_iter().collect()), ..Self::default() })
    }

    fn runs(&self) -> usize {
        self.runs.lock().expect("no panic").len()
    }

    async fn look(&self) -> Observation {
        self.runs.lock().expect("no panic").push(Instant::now());
        self.running.fetch_add(1, Ordering::SeqCst);
        let act = {
            let mut acts = self.acts.lock().expect("no panic");
            if acts.len() > 1 { acts.pop_front() } else { acts.front().cloned() }
        };
        let seen = match act.unwrap_or(Act::Up) {
            Act::Up => Observation::up(),
            Act::Down => Observation::down("refused"),
            Act::Takes(time) => {
                tokio::time::sleep(time).await;
                Observation::up()
            }
            Act::Never => std::future::pending().await,
            Act::Panic => panic!("a test wants it"),
        };
        self.running.fetch_sub(1, Ordering::SeqCst);
        seen
    }
}

struct Shared(Arc<Fake>);

impl Probe for Shared {
    fn kind(&self) -> &'static str {
        "fake"
    }

    fn heartbeat(&self) -> Option<&str> {
        self.0.heartbeat.as_deref()
    }

    fn run<'a>(&'a self, _: &'a Ctx) -> BoxFuture<'a, Observation> {
        Box::pin(self.0.look())
    }
}

fn fake(id: &str, interval_s: u64, probe: &Arc<Fake>) -> Check {
    let interval = Duration::from_secs(interval_s);
    Check {
        id: id.into(),
        tenant: model::Tenant::default(),
        name: id.to_owned(),
        description: String::new(),
        group: String::new(),
        sector: model::Sector::default(),
        severity: model::Severity::Critical,
        labels: model::Labels::new(),
        kind: &canary::KIND,
        probe: Arc::new(Shared(Arc::clone(probe))),
        conditions: Arc::default(),
        interval,
        timeout: interval / 2,
        retry_interval: Duration::from_secs(2),
        thresholds: Thresholds { failure: 2, success: 1 },
        depends_on: Vec::new(),
        declared: [u8::try_from(interval_s % 251).expect("small"); 32],
    }
}

fn config(checks: Vec<Check>) -> Config {
    let mut checks: Vec<_> = checks.into_iter().map(Arc::new).collect();
    checks.sort_by(|a, b| a.id.cmp(&b.id));
    Config { checks, windows: Windows::default() }
}

/// Keeps what it is given, and refuses while told to.
#[derive(Default)]
struct Sink {
    results: Mutex<Vec<CheckResult>>,
    changes: Mutex<Vec<CheckChange>>,
    full: AtomicBool,
    panics: AtomicBool,
}

impl Results for Sink {
    fn take(&self, _: &Check, result: &CheckResult, change: Option<&CheckChange>) -> Result<(), Full> {
        assert!(!self.panics.load(Ordering::SeqCst), "a test wants it");
        if self.full.load(Ordering::SeqCst) {
            return Err(Full);
        }
        self.results.lock().expect("no panic").push(result.clone());
        self.changes.lock().expect("no panic").extend(change.cloned());
        Ok(())
    }
}

impl Sink {
    fn changes(&self) -> Vec<(String, State, State)> {
        let changes = self.changes.lock().expect("no panic");
        changes.iter().map(|change| (change.id.clone(), change.from, change.to)).collect()
    }

    fn last(&self) -> CheckResult {
        self.results.lock().expect("no panic").last().cloned().expect("a result")
    }
}

fn start(config: Config) -> (Scheduler, Arc<Sink>) {
    let sink = Arc::new(Sink::default());
    (Scheduler::start(config, means_with(clock()), Arc::clone(&sink) as Arc<dyn Results>, &[]), sink)
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn every_check_runs_once_per_interval_whatever_the_others_do() {
    let probes: Vec<_> = (0..100).map(|n| Fake::new([if n % 2 == 0 { Act::Up } else { Act::Never }])).collect();
    let checks = probes.iter().enumerate().map(|(n, probe)| fake(&format!("c{n}"), 10, probe)).collect();
    let (scheduler, _) = start(config(checks));
    pass(100).await;
    for probe in &probes {
        let runs = probe.runs.lock().expect("no panic");
        let gaps: Vec<_> = runs.windows(2).map(|pair| pair[1].duration_since(pair[0]).as_millis()).collect();
        // Those that hang fail once more at the retry, then keep their moments.
        let regular = gaps.iter().filter(|gap| (9_990..=10_010).contains(*gap)).count();
        assert!(regular >= 8 || runs.len() >= 10, "{gaps:?}");
    }
    let stats = scheduler.stats();
    assert_eq!((stats.checks, stats.skipped, stats.refused), (100, 0, 0));
    assert!(stats.runs >= 1_000 && stats.lag_quantile(0.99) <= 0.002, "{stats:?}");
    let starts: Vec<_> = probes.iter().map(|probe| probe.runs.lock().expect("no panic")[0]).collect();
    let (first, last) = (starts.iter().min().expect("some"), starts.iter().max().expect("some"));
    assert!(last.duration_since(*first) > Duration::from_secs(8), "spread over the interval");
    scheduler.stop(Duration::ZERO).await;
    assert_eq!(scheduler.stats().running, stats.running, "cancelled runs are not counted as ended");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_overruns_skips_moments_and_counts_them() {
    let slow = Fake::new([Act::Takes(Duration::from_secs(25))]);
    let mut check = fake("slow", 10, &slow);
    check.timeout = Duration::from_secs(60);
    let (scheduler, sink) = start(config(vec![check]));
    pass(61).await;
    assert!((2..=3).contains(&slow.runs()), "{}", slow.runs());
    assert!(scheduler.stats().skipped >= 3);
    assert_eq!(sink.last().state, State::Up);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_confirmed_soon_and_then_told() {
    let probe = Fake::new([Act::Up, Act::Down, Act::Down, Act::Up]);
    let (scheduler, sink) = start(config(vec![fake("a", 60, &probe)]));
    pass(140).await;
    let told = [(State::Unknown, State::Up), (State::Up, State::Down), (State::Down, State::Up)];
    assert_eq!(sink.changes(), told.map(|(from, to)| ("a".to_owned(), from, to)));
    let results = sink.results.lock().expect("no panic").clone();
    assert_eq!(results[1].reason, "1 of 2 results say down: refused");
    assert_eq!((results[1].state, results[1].observed), (State::Up, State::Down));
    assert_eq!((results[2].state, results[2].reason.as_str()), (State::Down, "refused"));
    let runs = probe.runs.lock().expect("no panic");
    assert_eq!(runs[2].duration_since(runs[1]), Duration::from_secs(2), "retried");
    assert_eq!(scheduler.means().board.state("a"), State::Up);
    assert_eq!(scheduler.means().board.all().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_was_not_taken_comes_again() {
    let probe = Fake::new([Act::Up]);
    let (scheduler, sink) = start(config(vec![fake("a", 10, &probe)]));
    sink.full.store(true, Ordering::SeqCst);
    pass(35).await;
    assert!(scheduler.stats().refused >= 3);
    assert_eq!(scheduler.means().board.state("a"), State::Unknown, "nobody was told");
    sink.full.store(false, Ordering::SeqCst);
    pass(10).await;
    assert_eq!(sink.changes(), [("a".to_owned(), State::Unknown, State::Up)]);
    assert_eq!(scheduler.means().board.state("a"), State::Up);
}

#[tokio::test(start_paused = true)]
async fn a_reload_keeps_what_it_can() {
    let [kept, changed, gone, new] = [[Act::Up], [Act::Up], [Act::Up], [Act::Up]].map(Fake::new);
    let before = vec![fake("kept", 60, &kept), fake("changed", 60, &changed), fake("gone", 60, &gone)];
    let (scheduler, sink) = start(config(before));
    pass(15).await;
    let since = scheduler.means().board.get("changed").expect("a result").result.since;
    let reloaded = scheduler
        .reload(config(vec![fake("kept", 60, &kept), fake("changed", 30, &changed), fake("new", 60, &new)]))
        .await;
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let expected = Reloaded { added: names(&["new"]), changed: names(&["changed"]), removed: names(&["gone"]) };
    assert_eq!(reloaded, expected);
    let (kept_before, gone_before) = (kept.runs(), gone.runs());
    pass(11).await;
    assert_eq!((gone.runs(), kept.runs() - kept_before <= 1), (gone_before, true));
    assert_eq!(scheduler.means().board.get("gone"), None);
    assert_eq!(scheduler.means().board.get("changed").expect("a result").result.since, since);
    assert_eq!(sink.changes().iter().filter(|(id, ..)| id == "changed").count(), 1);
    assert_eq!(scheduler.config().checks.len(), 3);
    pass(60).await;
    assert!(new.runs() >= 1 && kept.runs() > kept_before);
}

#[tokio::test(start_paused = true)]
async fn a_check_runs_on_demand_and_callers_share_the_run() {
    let probe = Fake::new([Act::Takes(Duration::from_secs(3))]);
    let (scheduler, _) = start(config(vec![fake("a", 3_600, &probe)]));
    let (one, two) = tokio::join!(scheduler.run_now("a"), scheduler.run_now("a"));
    assert_eq!((one.expect("a result").state, two.expect("a result").state), (State::Up, State::Up));
    assert_eq!(probe.runs(), 1);
    assert_eq!(scheduler.run_now("b").await, None);
    scheduler.stop(Duration::ZERO).await;
    assert_eq!(scheduler.run_now("a").await, None, "stopped");
}

#[tokio::test(start_paused = true)]
async fn signs_of_life_wake_their_check() {
    let probe = Arc::new(Fake { heartbeat: Some("secret-name".to_owned()), ..Fake::default() });
    let (scheduler, _) = start(config(vec![fake("job", 3_600, &probe)]));
    pass(20).await;
    let before = probe.runs();
    assert_eq!(scheduler.ping("nobody", Ping::Success), None);
    assert_eq!(scheduler.ping("secret-name", Ping::Success).as_deref(), Some("job"));
    pass(1).await;
    assert_eq!(probe.runs(), before + 1);
    assert!(scheduler.means().heartbeats.beats("secret-name").expect("declared").ended.is_some());
    assert_eq!(scheduler.means().heartbeats.check_of("secret-name").as_deref(), Some("job"));
}

#[tokio::test(start_paused = true)]
async fn a_check_whose_results_go_nowhere_is_silent() {
    let (scheduler, sink) = start(config(vec![fake("a", 60, &Fake::new([Act::Up]))]));
    pass(400).await;
    assert!(!scheduler.is_silent("a") && !scheduler.is_silent("nobody"));
    sink.full.store(true, Ordering::SeqCst);
    pass(100).await;
    assert!(!scheduler.is_silent("a"), "one may be lost");
    pass(200).await;
    assert!(scheduler.is_silent("a"));
    sink.full.store(false, Ordering::SeqCst);
    pass(60).await;
    assert!(!scheduler.is_silent("a"));
    scheduler.stop(Duration::ZERO).await;
}

/// After a start, members get their first results one by one, and each ran the group again: two looks that could not
/// tell were an alert.
#[tokio::test(start_paused = true)]
async fn a_group_tells_nothing_before_its_members_were_looked_at() {
    let group = |least: u64| {
        let canary = json!({"kind": "canary"});
        let group = json!({"kind": "group", "members": ["a", "b", "c"], "at_least": least, "interval": "2s"});
        let json = json!({"a": canary, "b": canary, "c": canary, "g": group});
        let read = Config::read(&json, &serde_json::Value::Null).expect("sound");
        read.checks.iter().find(|check| &*check.id == "g").cloned().expect("there")
    };
    for (least, states) in [(1, vec![State::Degraded]), (3, vec![State::Down])] {
        let mut checks: Vec<_> = vec![group(least)];
        let probes = [Act::Up, Act::Down, Act::Takes(Duration::from_secs(25))];
        for (id, act) in ["a", "b", "c"].into_iter().zip(probes) {
            let mut check = fake(id, 60, &Fake::new([act]));
            check.timeout = Duration::from_secs(30);
            checks.push(Arc::new(check));
        }
        let sink = Arc::new(Sink::default());
        let taken = Arc::clone(&sink) as Arc<dyn Results>;
        let scheduler =
            Scheduler::start(Config { checks, windows: Windows::default() }, means_with(clock()), taken, &[]);
        pass(20).await;
        let early = scheduler.run_now("g").await.expect("a result");
        assert_eq!(early.state, if least == 3 { State::Down } else { State::Unknown }, "{early:?}");
        pass(40).await;
        let mut told: Vec<_> =
            sink.results.lock().expect("no panic").iter().filter(|r| r.id == "g").map(|r| r.observed).collect();
        told.dedup();
        assert_eq!(told, states);
        scheduler.stop(Duration::ZERO).await;
    }
}

/// A slot whose run panicked after the look was taken for running for ever.
#[tokio::test(start_paused = true)]
async fn a_run_that_dies_frees_its_slot() {
    let probe = Fake::new([Act::Up]);
    let (scheduler, sink) = start(config(vec![fake("a", 10, &probe)]));
    sink.panics.store(true, Ordering::SeqCst);
    pass(25).await;
    assert!(probe.runs() >= 2, "{}", probe.runs());
    assert_eq!(scheduler.run_now("a").await, None, "it died, and whoever waits hears of it");
    sink.panics.store(false, Ordering::SeqCst);
    assert_eq!(scheduler.run_now("a").await.expect("a result").state, State::Up);
    scheduler.stop(Duration::ZERO).await;
}

/// A job that was late before a restart is late after it: its alert went from down to unknown, and ended.
#[tokio::test(start_paused = true)]
async fn a_heartbeat_that_was_down_before_a_restart_stays_down_until_a_sign() {
    let job = json!({"kind": "heartbeat", "interval": "1h", "ping_id": "secret-name"});
    let fresh = json!({"kind": "heartbeat", "interval": "1h"});
    let config = Config::read(&json!({"job": job, "fresh": fresh}), &serde_json::Value::Null).expect("sound");
    let mut stood = run_once(&config.checks, &means_with(clock()), 1).await.remove(0);
    (stood.id, stood.state) = ("job".to_owned(), State::Down);
    let sink = Arc::new(Sink::default());
    let taken = Arc::clone(&sink) as Arc<dyn Results>;
    let scheduler = Scheduler::start(config, means_with(clock()), taken, &[stood]);
    pass(600).await;
    assert_eq!(sink.changes(), [("fresh".to_owned(), State::Unknown, State::Up)]);
    let job = scheduler.run_now("job").await.expect("a result");
    assert_eq!((job.state, job.observed), (State::Down, State::Down));
    assert_eq!(job.reason, "no sign of life since it was down before our restart");
    scheduler.ping("secret-name", Ping::Start);
    pass(1).await;
    assert_eq!(scheduler.run_now("job").await.expect("a result").state, State::Down, "it has not ended");
    scheduler.ping("secret-name", Ping::Success);
    pass(1).await;
    assert_eq!(sink.changes().last(), Some(&("job".to_owned(), State::Down, State::Up)));
    scheduler.stop(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn parents_are_looked_at_when_a_child_fails_and_groups_when_a_member_changes() {
    let (child, parent) = (Fake::new([Act::Up, Act::Down]), Fake::new([Act::Up]));
    let mut failing = fake("child", 60, &child);
    failing.depends_on = vec!["parent".to_owned(), "not-there".to_owned()];
    let group = json!({"kind": "group", "members": ["child", "parent"], "at_least": 2, "interval": "1h"});
    let declared = json!({"c": group, "child": {"kind": "canary"}, "parent": {"kind": "canary"}});
    let group = Config::read(&declared, &serde_json::Value::Null).expect("sound").checks.swap_remove(0);
    let group = Arc::into_inner(group).expect("only here");
    let mut all = config(vec![failing, fake("parent", 3_600, &parent), group]);
    all.checks.sort_by(|a, b| a.id.cmp(&b.id));
    assert_eq!(all.parents_of("child"), ["parent", "not-there"]);
    assert!(all.parents_of("nobody").is_empty());
    let (scheduler, _) = start(all);
    pass(12).await;
    let looked = parent.runs();
    assert_eq!(scheduler.means().board.state("c"), State::Up, "a group follows at once");
    pass(75).await;
    assert!(parent.runs() > looked, "looked at because of the child");
    assert_eq!(scheduler.means().board.state("c"), State::Down);
}

#[tokio::test(start_paused = true)]
async fn panics_and_hangs_end_with_a_result() {
    for (act, state, reason) in
        [(Act::Panic, State::Unknown, "the probe failed by a fault of ours"), (Act::Never, State::Down, "timed out")]
    {
        let probe = Fake::new([act]);
        let (_scheduler, sink) = start(config(vec![fake("a", 10, &probe)]));
        pass(40).await;
        let result = sink.last();
        assert_eq!((result.observed, result.state, result.reason.as_str()), (state, state, reason));
        assert!(result.timings_ms.total.is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_makes_results_unknown_for_a_while() {
    let clock = clock();
    let sink = Arc::new(Sink::default());
    let probe = Fake::new([Act::Up]);
    let sinks = Arc::clone(&sink) as Arc<dyn Results>;
    let means = means_with(Arc::clone(&clock) as Arc<dyn Clock>);
    let _scheduler = Scheduler::start(config(vec![fake("a", 10, &probe)]), means, sinks, &[]);
    pass(25).await;
    clock.jump_ms.store(-3_600_000, Ordering::SeqCst);
    pass(15).await;
    let result = sink.last();
    assert_eq!(result.observed, State::Unknown);
    assert!(result.reason.ends_with("our clock jumped by -3600.0 s"), "{}", result.reason);
    pass(60).await;
    assert_eq!((sink.last().state, sink.last().observed), (State::Up, State::Up));
}

#[tokio::test(start_paused = true)]
async fn flapping_and_maintenance_are_said() {
    let mut acts: Vec<_> = (0..8).flat_map(|_| [Act::Up, Act::Down]).collect();
    acts.push(Act::Up);
    let probe = Fake::new(acts);
    let mut check = fake("a", 10, &probe);
    check.thresholds = Thresholds { failure: 1, success: 1 };
    let mut config = config(vec![check]);
    config.windows = Windows::read(&json!({"w": {"checks": "a", "at": "00:00", "duration": "1d"}})).expect("valid");
    let (_scheduler, sink) = start(config);
    pass(100).await;
    let result = sink.last();
    assert!(result.reason.starts_with("flapping, "), "{}", result.reason);
    assert!(result.maintenance);
    assert!(sink.changes.lock().expect("no panic").last().expect("changes").flapping);
}

#[tokio::test(start_paused = true)]
async fn a_restart_goes_on_from_what_was_recorded() {
    let (before, sink) = start(config(vec![fake("a", 10, &Fake::new([Act::Down]))]));
    pass(25).await;
    before.stop(Duration::from_secs(1)).await;
    let recorded = sink.last();
    assert_eq!(recorded.state, State::Down);
    let sink = Arc::new(Sink::default());
    let sinks = Arc::clone(&sink) as Arc<dyn Results>;
    let probe = Fake::new([Act::Down]);
    let _scheduler = Scheduler::start(
        config(vec![fake("a", 10, &probe)]),
        means_with(clock()),
        sinks,
        std::slice::from_ref(&recorded),
    );
    pass(25).await;
    assert_eq!((sink.changes().len(), sink.last().since), (0, recorded.since));
}

#[tokio::test(start_paused = true)]
async fn stopping_waits_for_runs_within_its_grace() {
    let (short, long) = (Fake::new([Act::Takes(Duration::from_secs(2))]), Fake::new([Act::Never]));
    let (mut one, mut two) = (fake("short", 3_600, &short), fake("long", 3_600, &long));
    (one.timeout, two.timeout) = (Duration::from_secs(60), Duration::from_secs(60));
    let (scheduler, sink) = start(config(vec![one, two]));
    pass(10).await;
    let before = sink.results.lock().expect("no panic").len();
    scheduler.stop(Duration::from_secs(5)).await;
    scheduler.stop(Duration::from_secs(5)).await;
    assert!(sink.results.lock().expect("no panic").len() >= before);
    pass(100).await;
    assert_eq!(short.runs() + long.runs(), 2, "nothing starts after the stop");
}

#[test]
fn moments_do_not_drift() {
    let start = Instant::now();
    let tenth = Duration::from_secs(10);
    assert_eq!(next_moment(start, tenth, start + Duration::from_secs(3)), (start + tenth, 0));
    assert_eq!(next_moment(start, tenth, start + tenth), (start + 2 * tenth, 1));
    assert_eq!(next_moment(start, tenth, start + Duration::from_secs(35)), (start + 4 * tenth, 3));
    let (a, b) = (spread("a", tenth), spread("b", tenth));
    assert!(a < tenth && b < tenth && a != b && a == spread("a", tenth));
    let moment = |due, seq| Moment { due, seq, slot: Arc::new(slot()), regular: true };
    assert!(moment(start, 1) < moment(start + tenth, 0) && moment(start, 1) < moment(start, 2));
    assert!(moment(start, 1) == moment(start + tenth, 1));
    assert_eq!(moment(start, 1).partial_cmp(&moment(start, 1)), Some(std::cmp::Ordering::Equal));
}

fn slot() -> Slot {
    Slot::new(Arc::new(fake("a", 10, &Fake::new([Act::Up]))), Tracker::new(Timestamp::UNIX_EPOCH))
}

#[test]
fn descriptors_are_raised_and_compared() {
    let checks = [Arc::new(fake("a", 10, &Fake::new([Act::Up]))), Arc::new(fake("b", 10, &Fake::new([Act::Up])))];
    let needed = descriptors_needed(&checks);
    let raised = raise_descriptors(needed);
    assert_eq!((raised.needed, raised.needed - 4), (needed, descriptors_needed(&[])));
    assert_eq!(raised.suffice(), raised.allowed >= needed);
    assert!(!raise_descriptors(u64::MAX).suffice() || raised.allowed == u64::MAX);
}

#[test]
fn lag_quantiles_are_bucket_bounds() {
    let counters = Counters::default();
    assert_eq!(counters.stats(0).lag_quantile(0.99), 0.0);
    for ms in [1, 1, 1, 4, 9_000] {
        counters.lag(Duration::from_millis(ms));
    }
    let stats = counters.stats(0);
    assert_eq!((stats.lag_quantile(0.5), stats.lag_quantile(0.8)), (0.001, 0.005));
    assert_eq!((stats.lag_quantile(1.0), stats.lag_sum), (f64::INFINITY, 9.007));
}
