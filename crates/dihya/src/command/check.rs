//! `dihya check`: every probe once, for people, programs and CI.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use disk::{OsClock, OsDisk, OsRng};
use jiff::Timestamp;
use model::{CheckResult, Clock, State};
use server::Overview;

use super::block_on;
use crate::cli::{CheckArgs, CheckFormat};
use crate::config::suggest::nearest;
use crate::config::{self, Loaded};
use crate::failure::{DONE, FAILED, UNKNOWN, USAGE, misuse};
use crate::results;
use crate::terminal;

/// Most probes at once.
const CONCURRENCY: usize = 64;

/// Runs the checks and prints their results.
pub(super) fn run(args: &CheckArgs) -> anyhow::Result<u8> {
    let loaded = config::load(args.place.config.as_deref(), &args.place.data_dir())?;
    let checks = chosen(&loaded, &args.place.data_dir(), &args.names)?;
    let redactor = loaded.redactor()?;
    let clock: Arc<dyn Clock> = Arc::new(OsClock::default());
    let means = probe::Means::new(Arc::clone(&clock), Arc::new(OsRng), Arc::new(OsDisk));
    let _ = means.follow.set(Arc::new(ledger::Follow)); // just made: nobody set it before
    // Signs of life and events reach a server only, so there is nothing to look at from here.
    let told_here = |check: &&Arc<probe::Check>| check.heartbeat().is_none() && check.kind.name != "search";
    let looked: Vec<_> = checks.iter().filter(told_here).cloned().collect();
    let mut results = block_on(async { Ok(probe::run_once(&looked, &means, CONCURRENCY).await) })?;
    let skipped: Vec<&str> =
        checks.iter().map(|check| &*check.id).filter(|id| !results.iter().any(|result| result.id == *id)).collect();
    if results.is_empty() && !skipped.is_empty() {
        return Err(misuse(format!("nothing to look at: {} {SKIPPED}", skipped.join(", "))));
    }
    for result in &mut results {
        // On a terminal too: it ends in CI logs.
        results::clear(result, &redactor);
    }
    if args.format == CheckFormat::Json {
        // The one result schema has no place for what was not looked at.
        skipped.iter().for_each(|id| terminal::err(&format!("skipped {}: {SKIPPED}\n", terminal::plain(id))));
    }
    terminal::out(&write(&results, &skipped, clock.now(), args.format, terminal::colours_out())?);
    Ok(code_of(State::worst(results.iter().map(|result| result.state))))
}

/// Why checks are left out.
const SKIPPED: &str = "can be told by a running server only";

/// Returns the checks that were named, or all; the canary is no service.
fn chosen(loaded: &Loaded, data_dir: &Path, names: &[String]) -> anyhow::Result<Vec<Arc<probe::Check>>> {
    let mut checks: Vec<_> =
        loaded.checks.checks.iter().filter(|check| &*check.id != config::CANARY).cloned().collect();
    if loaded.path.is_none() && !data_dir.join("ledger").is_dir() {
        // Before the first start there is no ledger, and that is no fault of anybody's.
        checks.retain(|check| check.kind.name != "ledger");
    }
    for name in names {
        if !checks.iter().any(|check| *check.id == **name) {
            let near = nearest(name, checks.iter().map(|check| &*check.id));
            let hint = near.map(|near| format!(", did you mean {near}?")).unwrap_or_default();
            return Err(misuse(format!("there is no check {name}{hint}")));
        }
    }
    checks.retain(|check| names.is_empty() || names.iter().any(|name| *check.id == **name));
    Ok(checks)
}

/// The exit code of an overall state.
fn code_of(overall: State) -> u8 {
    match overall {
        State::Up => DONE,
        State::Degraded => FAILED,
        State::Down => USAGE,
        State::Unknown => UNKNOWN,
    }
}

fn write(
    results: &[CheckResult],
    skipped: &[&str],
    at: Timestamp,
    format: CheckFormat,
    colours: bool,
) -> anyhow::Result<String> {
    let overall = State::worst(results.iter().map(|result| result.state));
    Ok(match format {
        CheckFormat::Text => text(results, skipped, overall, colours),
        CheckFormat::Junit => junit(results, skipped, at),
        CheckFormat::Json => {
            let overview = Overview::of(results.iter().cloned(), at);
            format!("{}\n", serde_json::to_string_pretty(&overview)?)
        }
    })
}

fn text(results: &[CheckResult], skipped: &[&str], overall: State, colours: bool) -> String {
    let paint = |state: State| {
        let code = match state {
            State::Up => "32",
            State::Degraded => "33",
            State::Down => "1;31",
            State::Unknown => "35",
        };
        terminal::paint(&format!("{:<8}", state.as_str()), code, colours)
    };
    let width = results.iter().map(|result| result.name.chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    for result in results {
        let total = result.timings_ms.total.map(|ms| format!("{ms:.0} ms")).unwrap_or_default();
        let (name, reason) = (terminal::plain(&result.name), terminal::plain(&result.reason));
        let _ = writeln!(out, "{}  {name:<width$}  {:<8} {total:>8}  {reason}", paint(result.state), result.kind);
        for condition in result.conditions.iter().filter(|condition| !condition.ok) {
            let _ = writeln!(
                out,
                "          {} ({})",
                terminal::plain(&condition.expr),
                terminal::plain(&condition.actual)
            );
        }
    }
    for id in skipped {
        let _ = writeln!(out, "skipped   {}: {SKIPPED}", terminal::plain(id));
    }
    let count = |state: State| results.iter().filter(|result| result.state == state).count();
    let counts: Vec<String> = [State::Up, State::Degraded, State::Down, State::Unknown]
        .into_iter()
        .filter(|state| count(*state) > 0)
        .map(|state| format!("{} {state}", count(state)))
        .collect();
    let _ = writeln!(out, "{}  {}", paint(overall), counts.join(", "));
    out.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// JUnit XML as CI systems read it: degraded passes with a note, unknown is an error, down a failure.
fn junit(results: &[CheckResult], skipped: &[&str], at: Timestamp) -> String {
    let count = |state: State| results.iter().filter(|result| result.state == state).count();
    let seconds = |result: &CheckResult| result.timings_ms.total.unwrap_or(0.0) / 1e3;
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        out,
        "<testsuites><testsuite name=\"dihya\" tests=\"{}\" failures=\"{}\" errors=\"{}\"{} time=\"{:.3}\" timestamp=\"{at}\">",
        results.len() + skipped.len(),
        count(State::Down),
        count(State::Unknown),
        if skipped.is_empty() { String::new() } else { format!(" skipped=\"{}\"", skipped.len()) },
        results.iter().map(seconds).sum::<f64>(),
    );
    for result in results {
        let _ = write!(
            out,
            "  <testcase classname=\"dihya.{}\" name=\"{}\" time=\"{:.3}\">",
            escape(&result.kind),
            escape(&result.id),
            seconds(result)
        );
        let mut detail = result.reason.clone();
        for condition in result.conditions.iter().filter(|condition| !condition.ok) {
            let _ = write!(detail, "\n{} ({})", condition.expr, condition.actual);
        }
        let (reason, detail) = (escape(&result.reason), escape(&detail));
        let _ = match result.state {
            State::Up => Ok(()),
            State::Degraded => write!(out, "<system-out>degraded: {detail}</system-out>"),
            State::Down => write!(out, "<failure message=\"{reason}\" type=\"down\">{detail}</failure>"),
            State::Unknown => write!(out, "<error message=\"{reason}\" type=\"unknown\">{detail}</error>"),
        };
        out.push_str("</testcase>\n");
    }
    for id in skipped {
        let _ = writeln!(
            out,
            "  <testcase classname=\"dihya\" name=\"{}\"><skipped message=\"{SKIPPED}\"/></testcase>",
            escape(id)
        );
    }
    out.push_str("</testsuite></testsuites>\n");
    out
}

/// Escapes text for XML 1.0, which has no place at all for most control characters.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() || matches!(c, '\u{FFFE}' | '\u{FFFF}') => out.push('\u{FFFD}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use model::{ConditionOutcome, Timings};

    use super::*;

    fn result(id: &str, state: State, reason: &str) -> CheckResult {
        CheckResult {
            id: id.into(),
            name: format!("The {id}"),
            kind: "http".into(),
            state,
            observed: state,
            reason: reason.into(),
            since: Timestamp::UNIX_EPOCH,
            checked_at: Timestamp::UNIX_EPOCH,
            conditions: vec![ConditionOutcome {
                expr: "status == 200".into(),
                ok: state == State::Up,
                actual: "status = 503".into(),
            }],
            timings_ms: Timings { total: Some(12.5), ..Timings::default() },
            figures: std::collections::BTreeMap::new(),
            maintenance: false,
        }
    }

    #[test]
    fn all_formats_say_the_same() {
        let results = [
            result("a", State::Up, ""),
            result("b", State::Down, "<503> & \u{1} more"),
            result("c", State::Unknown, "no resolver"),
            result("d", State::Degraded, "slow"),
        ];
        let write = |format| write(&results, &["job"], Timestamp::UNIX_EPOCH, format, false).expect("writes");
        expect![[r#"
            up        The a  http        12 ms
            down      The b  http        12 ms  <503> &   more
                      status == 200 (status = 503)
            unknown   The c  http        12 ms  no resolver
                      status == 200 (status = 503)
            degraded  The d  http        12 ms  slow
                      status == 200 (status = 503)
            skipped   job: can be told by a running server only
            down      1 up, 1 degraded, 1 down, 1 unknown
        "#]]
        .assert_eq(&write(CheckFormat::Text));
        expect![[r#"
            <?xml version="1.0" encoding="UTF-8"?>
            <testsuites><testsuite name="dihya" tests="5" failures="1" errors="1" skipped="1" time="0.050" timestamp="1970-01-01T00:00:00Z">
              <testcase classname="dihya.http" name="a" time="0.013"></testcase>
              <testcase classname="dihya.http" name="b" time="0.013"><failure message="&lt;503&gt; &amp; � more" type="down">&lt;503&gt; &amp; � more
            status == 200 (status = 503)</failure></testcase>
              <testcase classname="dihya.http" name="c" time="0.013"><error message="no resolver" type="unknown">no resolver
            status == 200 (status = 503)</error></testcase>
              <testcase classname="dihya.http" name="d" time="0.013"><system-out>degraded: slow
            status == 200 (status = 503)</system-out></testcase>
              <testcase classname="dihya" name="job"><skipped message="can be told by a running server only"/></testcase>
            </testsuite></testsuites>
        "#]].assert_eq(&write(CheckFormat::Junit));
        let json: serde_json::Value = serde_json::from_str(&write(CheckFormat::Json)).expect("is JSON");
        assert_eq!((&json["overall"], json.get("skipped")), (&"down".into(), None), "the schema is that of the API");
        assert_eq!(json["checked_at"], "1970-01-01T00:00:00Z");
        assert_eq!(json["services"][1]["conditions"][0]["actual"], "status = 503");
        assert_eq!(json["services"][0]["timings_ms"]["total"], 12.5);
        assert!(text(&results, &[], State::Down, true).contains("\x1b[1;31mdown"));
    }

    #[test]
    fn exit_codes_follow_the_worst_state() {
        assert_eq!([State::Up, State::Degraded, State::Down, State::Unknown].map(code_of), [0, 1, 2, 3]);
    }
}
