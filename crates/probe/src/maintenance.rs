//! Maintenance windows: when a failing check is expected.
//!
//! The question is always "is now inside?", never "did it begin?": a process that was not running when a window began
//! still knows. Times are civil times of a zone, so a window at 02:30 stays at 02:30 across a change of the clocks; in
//! the night that has no 02:30 it begins as much later, in the one that has two it begins at the first.

use std::time::Duration;

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, ToSpan as _};
use model::Timestamp;
use model::config::{FieldSpec, Spec, Ty};
use serde::Deserialize;
use serde_json::Value as Json;

use crate::config::{Issue, texts};

const DAY_MS: u64 = 86_400_000;
/// Longest recurring window.
const DURATION_MAX_MS: u64 = 7 * DAY_MS;
const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// What `maintenance:` holds: windows by name.
pub const TY: Ty = Ty::Map(&Ty::Object(&SPEC));

static SPEC: Spec = Spec {
    name: "maintenance window",
    doc: "A time in which checks are expected to fail: either once from `start`, or at `at` on the days that fit.",
    fields: &[
        FieldSpec::required("checks", Ty::OneOrMore(&Ty::Text), "Ids of the checks concerned; `*` for all."),
        FieldSpec::optional("zone", Ty::TimeZone, "UTC", "Time zone of the times."),
        FieldSpec::optional("start", Ty::Text, "", "Begin of a single window, such as 2026-12-01T22:00."),
        FieldSpec::optional("end", Ty::Text, "", "End of a single window; `duration` says the same otherwise."),
        FieldSpec::optional("at", Ty::Text, "", "Time of day at which a recurring window begins, such as 02:30."),
        FieldSpec::optional("days", Ty::List(&Ty::Enum(&WEEKDAYS)), "", "Days of the week; every day if left out."),
        FieldSpec::optional(
            "days_of_month",
            Ty::List(&Ty::Int { min: -31, max: 31 }),
            "",
            "Days of the month; -1 is the last. With `days`, both must fit.",
        ),
        FieldSpec::optional(
            "duration",
            Ty::Duration { min_ms: 60_000, max_ms: DURATION_MAX_MS },
            "1h",
            "How long it lasts.",
        ),
        FieldSpec::optional("reason", Ty::Text, "", "What people are told."),
    ],
};

#[derive(Debug, Deserialize)]
struct Raw {
    #[serde(deserialize_with = "model::config::de::one_or_more")]
    checks: Vec<String>,
    zone: Option<String>,
    start: Option<String>,
    end: Option<String>,
    at: Option<String>,
    #[serde(default)]
    days: Vec<String>,
    #[serde(default)]
    days_of_month: Vec<i8>,
    #[serde(default, deserialize_with = "model::config::de::duration_opt")]
    duration: Option<Duration>,
    #[serde(default)]
    reason: String,
}

/// One window.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// Its name.
    pub id: String,
    /// What people are told.
    pub reason: String,
    checks: Vec<String>,
    when: When,
}

#[derive(Clone, Debug, PartialEq)]
enum When {
    Once { start: Timestamp, end: Timestamp },
    Recurring { zone: TimeZone, at: Time, weekdays: Vec<Weekday>, month_days: Vec<i8>, duration: SignedDuration },
}

/// All windows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Windows(Vec<Window>);

impl Windows {
    /// Reads the part `maintenance:`.
    ///
    /// # Errors
    /// When a window has no time, an unknown zone, or a time that is none; paths start with `maintenance.`.
    pub fn read(json: &Json) -> Result<Self, Vec<Issue>> {
        let mut windows = Vec::new();
        let mut issues = Vec::new();
        for (id, json) in json.as_object().into_iter().flatten() {
            let raw = Raw::deserialize(json).map_err(|error| vec![Issue::new("", error.to_string())]);
            match raw.and_then(|raw| read(id, raw)) {
                Ok(window) => windows.push(window),
                Err(found) => {
                    issues.extend(found.into_iter().map(|issue| issue.below(&format!("maintenance.{id}"))));
                }
            }
        }
        if issues.is_empty() { Ok(Self(windows)) } else { Err(issues) }
    }

    /// Returns the window that covers `check` at `now`, if one does.
    #[must_use]
    pub fn covering(&self, check: &str, now: Timestamp) -> Option<&Window> {
        self.0.iter().find(|window| window.concerns(check) && window.covers(now))
    }

    /// Yields all windows, in the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = &Window> {
        self.0.iter()
    }
}

impl Window {
    /// Returns the ids of the checks concerned; `*` stands for all.
    #[must_use]
    pub fn checks(&self) -> &[String] {
        &self.checks
    }

    /// Tells whether `check` is concerned.
    #[must_use]
    pub fn concerns(&self, check: &str) -> bool {
        self.checks.iter().any(|id| id == "*" || id == check)
    }

    /// Tells whether `now` lies inside.
    #[must_use]
    pub fn covers(&self, now: Timestamp) -> bool {
        match &self.when {
            When::Once { start, end } => (*start..*end).contains(&now),
            When::Recurring { zone, at, weekdays, month_days, duration } => {
                let today = now.to_zoned(zone.clone()).date();
                let days_back = duration.as_hours() / 24 + 1;
                (0..=days_back).any(|back| {
                    let Ok(date) = today.checked_sub(back.days()) else { return false };
                    let fits = (weekdays.is_empty() || weekdays.contains(&date.weekday()))
                        && (month_days.is_empty() || month_days.iter().any(|day| is_month_day(date, *day)));
                    let Ok(start) = date.to_datetime(*at).to_zoned(zone.clone()) else { return false };
                    let elapsed = now.duration_since(start.timestamp());
                    fits && elapsed >= SignedDuration::ZERO && elapsed < *duration
                })
            }
        }
    }
}

fn is_month_day(date: Date, day: i8) -> bool {
    if day < 0 { date.day() - date.days_in_month() - 1 == day } else { date.day() == day }
}

fn read(id: &str, raw: Raw) -> Result<Window, Vec<Issue>> {
    let mut issues = Vec::new();
    let zone = match raw.zone.as_deref().map(TimeZone::get) {
        None => TimeZone::UTC,
        Some(zone) => zone.unwrap_or_else(|_| {
            issues.push(Issue::new("zone", "unknown time zone").suggest("write an IANA name such as Europe/Paris"));
            TimeZone::UTC
        }),
    };
    let when = match (&raw.start, &raw.at) {
        (Some(start), None) => once(start, &raw, &zone).map_err(|issue| issues.push(issue)).ok(),
        (None, Some(at)) => recurring(at, &raw, zone, &mut issues),
        _ => {
            let issue = Issue::new("", "expected either `start` (once) or `at` (recurring)");
            issues.push(issue.suggest("write one of them, such as `at: \"02:30\"`"));
            None
        }
    };
    match when {
        Some(when) if issues.is_empty() => {
            Ok(Window { id: id.to_owned(), reason: raw.reason, checks: raw.checks, when })
        }
        _ => Err(issues),
    }
}

fn recurring(at: &str, raw: &Raw, zone: TimeZone, issues: &mut Vec<Issue>) -> Option<When> {
    let at = at.parse::<Time>().map_err(|_| {
        let issue = Issue::new("at", "expected a time of day such as 02:30");
        issues.push(issue.suggest("write hours from 00 to 23 and minutes from 00 to 59, such as \"02:30\""));
    });
    let mut weekdays = Vec::new();
    for day in &raw.days {
        match weekday(day) {
            Ok(day) => weekdays.push(day),
            Err(issue) => issues.push(issue),
        }
    }
    let duration = raw.duration.unwrap_or(Duration::from_secs(3_600));
    if duration.is_zero() || duration.as_millis() > DURATION_MAX_MS.into() {
        issues.push(Issue::new("duration", "expected more than nothing and at most 7d").suggest("write 1h"));
    }
    let duration = SignedDuration::try_from(duration).unwrap_or(SignedDuration::ZERO);
    Some(When::Recurring { zone, at: at.ok()?, weekdays, month_days: raw.days_of_month.clone(), duration })
}

fn once(start: &str, raw: &Raw, zone: &TimeZone) -> Result<When, Issue> {
    let start =
        instant(start, zone).map_err(|message| Issue::new("start", message).suggest("write 2026-12-01T22:00"))?;
    let end = match (&raw.end, raw.duration) {
        (Some(end), None) => {
            instant(end, zone).map_err(|message| Issue::new("end", message).suggest("write 2026-12-01T23:00"))?
        }
        (None, Some(duration)) => {
            start.checked_add(duration).map_err(|_| Issue::new("duration", "ends beyond what times can say"))?
        }
        _ => {
            return Err(
                Issue::new("", "expected either `end` or `duration` beside `start`").suggest("add `duration: 1h`")
            );
        }
    };
    if end <= start {
        return Err(Issue::new("end", "ends before it begins").suggest("write a time after `start`"));
    }
    Ok(When::Once { start, end })
}

/// Reads a civil time in `zone`, or an instant with its offset.
fn instant(text: &str, zone: &TimeZone) -> Result<Timestamp, &'static str> {
    const SHAPE: &str = "expected a date and time such as 2026-12-01T22:00";
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Ok(instant);
    }
    let civil: DateTime = text.parse().map_err(|_| SHAPE)?;
    civil.to_zoned(zone.clone()).map(|zoned| zoned.timestamp()).map_err(|_| SHAPE)
}

fn weekday(day: &str) -> Result<Weekday, Issue> {
    let lower = day.to_ascii_lowercase();
    let number = WEEKDAYS.iter().position(|known| *known == lower).and_then(|at| i8::try_from(at + 1).ok());
    number
        .and_then(|number| Weekday::from_monday_one_offset(number).ok())
        .ok_or_else(|| Issue::new("days", "expected mon, tue, wed, thu, fri, sat or sun"))
}

/// Yields what the windows name, each with its path, for the check that those exist.
pub(crate) fn named(json: &Json) -> impl Iterator<Item = (String, &str)> {
    let windows = json.as_object().into_iter().flatten();
    windows.flat_map(|(window, json)| {
        let named = texts(json.get("checks")).filter(|(_, check)| *check != "*");
        named.map(move |(at, check)| (format!("maintenance.{window}.checks.{at}"), check))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn inside(window: Json, now: &str) -> bool {
        let windows = Windows::read(&json!({ "w": window })).expect("valid");
        windows.covering("a", now.parse().expect("a time")).is_some()
    }

    #[test]
    fn a_recurring_window_stays_at_its_civil_time() {
        let nightly = json!({"checks": "a", "zone": "Europe/Paris", "at": "02:30", "duration": "1h"});
        for (now, expected) in [
            // Winter: UTC+1. Summer: UTC+2.
            ("2026-01-15T01:29:59Z", false),
            ("2026-01-15T01:30:00Z", true),
            ("2026-01-15T02:29:59Z", true),
            ("2026-01-15T02:30:00Z", false),
            ("2026-07-15T00:30:00Z", true),
            ("2026-07-15T01:30:00Z", false),
            // 29 March 2026 has no 02:30: it begins at 03:30 summer time.
            ("2026-03-29T01:29:00Z", false),
            ("2026-03-29T01:30:00Z", true),
            // 25 October 2026 has two: it begins at the first and lasts an hour.
            ("2026-10-25T00:30:00Z", true),
            ("2026-10-25T01:29:59Z", true),
            ("2026-10-25T01:30:00Z", false),
        ] {
            assert_eq!(inside(nightly.clone(), now), expected, "{now}");
        }
    }

    #[test]
    fn days_and_days_of_month_choose() {
        let sunday = json!({"checks": ["b", "*"], "at": "23:00", "days": ["Sun"], "duration": "2h"});
        assert!(inside(sunday.clone(), "2026-11-22T23:30:00Z"), "Sunday evening");
        assert!(inside(sunday.clone(), "2026-11-23T00:30:00Z"), "over midnight");
        assert!(!inside(sunday, "2026-11-23T23:30:00Z"), "Monday evening");
        let last = json!({"checks": "a", "at": "00:00", "days_of_month": [-1, 15], "duration": "3d"});
        assert!(inside(last.clone(), "2026-02-28T12:00:00Z"));
        assert!(inside(last.clone(), "2026-03-02T12:00:00Z"), "third day");
        assert!(!inside(last.clone(), "2026-03-03T12:00:00Z"));
        assert!(inside(last, "2026-03-15T00:00:00Z"));
    }

    #[test]
    fn a_single_window_is_once() {
        let once = json!({"checks": "a", "zone": "America/New_York", "start": "2026-12-01T22:00", "duration": "90m"});
        assert!(inside(once.clone(), "2026-12-02T03:00:00Z"));
        assert!(!inside(once.clone(), "2026-12-02T04:30:00Z"));
        assert!(!inside(once, "2026-12-03T03:30:00Z"));
        let end = json!({"checks": "b", "start": "2026-12-01T22:00:00Z", "end": "2026-12-01T23:00:00+00:00"});
        assert!(!inside(end, "2026-12-01T22:30:00Z"), "another check");
    }

    #[test]
    fn what_is_no_window_is_said_where() {
        for (window, path) in [
            (json!({"checks": "a"}), "maintenance.w"),
            (json!({"checks": "a", "at": "02:30", "start": "2026-12-01T22:00"}), "maintenance.w"),
            (json!({"checks": "a", "at": "26:00"}), "maintenance.w.at"),
            (json!({"checks": "a", "at": "02:00", "zone": "Europe/Parys"}), "maintenance.w.zone"),
            (json!({"checks": "a", "at": "02:00", "days": ["someday"]}), "maintenance.w.days"),
            (json!({"checks": "a", "at": "02:00", "duration": "8d"}), "maintenance.w.duration"),
            (json!({"checks": "a", "start": "tomorrow", "duration": "1h"}), "maintenance.w.start"),
            (json!({"checks": "a", "start": "2026-12-01T22:00"}), "maintenance.w"),
            (json!({"checks": "a", "start": "2026-12-01T22:00", "end": "later"}), "maintenance.w.end"),
            (json!({"checks": "a", "start": "2026-12-01T22:00", "end": "2026-12-01T21:00"}), "maintenance.w.end"),
            (json!({"checks": "a", "start": "9999-12-30T22:00", "duration": "9y"}), "maintenance.w.duration"),
            (json!({"checks": 5, "at": "02:00"}), "maintenance.w"),
        ] {
            let issues = Windows::read(&json!({ "w": window })).expect_err("refused");
            assert_eq!(issues[0].path, path, "{window}");
        }
        let json = json!({"w": {"checks": ["a", "*"], "at": "02:00"}});
        let windows = Windows::read(&json).expect("valid");
        assert_eq!(named(&json).collect::<Vec<_>>(), [("maintenance.w.checks.0".to_owned(), "a")]);
        assert_eq!(windows.iter().next().expect("one").checks(), ["a", "*"]);
        assert_eq!(Windows::read(&Json::Null), Ok(Windows::default()));
    }
}
