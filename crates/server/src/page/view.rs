//! A snapshot as the templates want it: every text chosen, every number written, nothing left to decide.

use askama::Template;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::snapshot::{Look, Shown, Snapshot};
use super::words::{Lang, Words};
use crate::history::{Day, PublicAction, PublicIncident};

const DAY_MS: i64 = 86_400_000;
/// Days of past incidents on the page; the feed and the incident pages go on.
const PAST_DAYS: i64 = 30;

/// What all pages share.
pub(super) struct Frame {
    pub(super) lang: Lang,
    pub(super) words: &'static Words,
    pub(super) title: String,
    /// `?lang=fr` where the reader chose a language, so that links keep it; empty otherwise.
    pub(super) query: String,
}

/// The status page.
#[derive(Template)]
#[template(path = "status.html")]
pub(super) struct StatusPage {
    frame: Frame,
    overall: Look,
    headline: &'static str,
    as_of: String,
    as_of_machine: String,
    up_count: usize,
    count: usize,
    groups: Vec<Group>,
    open: Vec<IncidentView>,
    past: Vec<PastDay>,
    legend: Vec<(Look, &'static str)>,
    more: usize,
}

struct Group {
    id: usize,
    name: String,
    look: Look,
    services: Vec<ServiceView>,
}

struct ServiceView {
    name: String,
    look: Look,
    state: &'static str,
    since: String,
    since_machine: String,
    uptime: Option<String>,
    strip_label: String,
    bars: Vec<Bar>,
    rows: Vec<Row>,
}

/// A day, its number since 1970-01-01.
struct Dated<'a> {
    day: i64,
    times: Option<&'a Day>,
    look: Look,
}

/// One day of the strip.
struct Bar {
    x: usize,
    look: Look,
    label: String,
}

/// Consecutive days that read the same, in the table that says what the strip shows.
struct Row {
    days: String,
    state: &'static str,
    uptime: String,
    down: String,
}

struct PastDay {
    date: String,
    incidents: Vec<IncidentView>,
}

/// An incident, on the page or on its own.
struct IncidentView {
    id: String,
    title: String,
    impact: &'static str,
    impact_class: &'static str,
    open: bool,
    services: Vec<String>,
    began: String,
    began_machine: String,
    ended: Option<(String, String)>,
    lasted: String,
    steps: Vec<StepView>,
}

struct StepView {
    at: String,
    at_machine: String,
    class: &'static str,
    text: &'static str,
    note: String,
}

/// The page of one incident.
#[derive(Template)]
#[template(path = "incident.html")]
pub(super) struct IncidentPage {
    frame: Frame,
    incident: IncidentView,
}

/// The page that says that there is none.
#[derive(Template)]
#[template(path = "missing.html")]
pub(super) struct MissingPage {
    pub(super) frame: Frame,
}

/// The incidents as Atom (RFC 4287).
#[derive(Template)]
#[template(path = "feed.xml")]
pub(super) struct Feed {
    lang: Lang,
    words: &'static Words,
    title: String,
    url: String,
    updated: String,
    entries: Vec<Entry>,
}

struct Entry {
    view: IncidentView,
    updated: String,
}

impl Frame {
    pub(super) fn new(snapshot: &Snapshot, lang: Lang, chosen: bool) -> Self {
        let query = if chosen { format!("?lang={}", lang.code()) } else { String::new() };
        Self { lang, words: lang.words(), title: snapshot.title.clone(), query }
    }

    /// Where the same page is in the other language.
    fn elsewhere(&self) -> &'static str {
        self.lang.other().code()
    }
}

impl StatusPage {
    pub(super) fn new(snapshot: &Snapshot, frame: Frame) -> Self {
        let lang = frame.lang;
        let (open, closed): (Vec<_>, Vec<_>) =
            snapshot.incidents.iter().partition(|incident| incident.resolved_at.is_none());
        Self {
            overall: snapshot.overall,
            headline: lang.headline(snapshot.overall),
            as_of: lang.instant(snapshot.at),
            as_of_machine: machine(snapshot.at),
            up_count: snapshot.working,
            count: snapshot.checks.len() + snapshot.more,
            groups: groups(snapshot, lang),
            open: open.into_iter().map(|incident| IncidentView::new(snapshot, incident, lang)).collect(),
            past: past(snapshot, &closed, lang),
            more: snapshot.more,
            legend: Look::ALL.into_iter().map(|look| (look, lang.look(look))).collect(),
            frame,
        }
    }
}

/// Groups by the group that the operator named, then by sector; what has neither comes last.
fn groups(snapshot: &Snapshot, lang: Lang) -> Vec<Group> {
    let named = |check: &Shown| match check.group.as_str() {
        "" => lang.sector(check.sector).map(str::to_owned),
        group => Some(group.to_owned()),
    };
    let mut names: Vec<Option<String>> = snapshot.checks.iter().map(named).collect();
    names.sort_by_key(|name| (name.is_none(), name.as_ref().map(|name| name.to_lowercase())));
    names.dedup();
    let alone = names.len() == 1;
    let rest = if alone { lang.words().services } else { lang.words().other_services };
    names
        .into_iter()
        .enumerate()
        .map(|(id, name)| {
            let members: Vec<&Shown> = snapshot.checks.iter().filter(|check| named(check) == name).collect();
            Group {
                id,
                look: Look::worst(members.iter().map(|check| check.look)),
                services: members.into_iter().map(|check| ServiceView::new(check, snapshot.today, lang)).collect(),
                name: name.unwrap_or_else(|| rest.to_owned()),
            }
        })
        .collect()
}

fn past(snapshot: &Snapshot, closed: &[&PublicIncident], lang: Lang) -> Vec<PastDay> {
    let mut days: Vec<(i64, PastDay)> = Vec::new();
    for incident in closed {
        let day = incident.opened_at.as_millisecond().div_euclid(DAY_MS);
        if day <= snapshot.today - PAST_DAYS {
            continue;
        }
        let view = IncidentView::new(snapshot, incident, lang);
        match days.last_mut() {
            Some((last, past)) if *last == day => past.incidents.push(view),
            _ => days.push((day, PastDay { date: lang.date(date_of(day)), incidents: vec![view] })),
        }
    }
    days.into_iter().map(|(_, past)| past).collect()
}

impl ServiceView {
    fn new(check: &Shown, today: i64, lang: Lang) -> Self {
        let words = lang.words();
        let first = today + 1 - i64::try_from(check.days.len()).unwrap_or(0);
        let days = check.days.iter().map(Option::as_ref).zip(check.looks());
        let dated: Vec<Dated> = (first..).zip(days).map(|(day, (times, look))| Dated { day, times, look }).collect();
        let uptime = check.uptime().map(|share| lang.percent(share));
        let outages = dated.iter().filter(|dated| dated.look == Look::Down).count();
        let outages = match outages {
            0 => words.strip_clean.to_owned(),
            1 => format!("1 {}", words.strip_down_one),
            many => format!("{many} {}", words.strip_down),
        };
        let share = match &uptime {
            Some(share) => format!("{share} {}, {outages}", words.uptime),
            None => words.uptime_unknown.to_owned(),
        };
        Self {
            name: check.name.clone(),
            look: check.look,
            state: lang.look(check.look),
            since: lang.instant(check.since),
            since_machine: machine(check.since),
            strip_label: format!("{}, {}: {share}", check.name, words.strip),
            bars: dated.iter().enumerate().map(|(at, dated)| Bar::new(at, dated, lang)).collect(),
            rows: rows(&dated, lang),
            uptime,
        }
    }
}

impl Bar {
    fn new(at: usize, dated: &Dated<'_>, lang: Lang) -> Self {
        let &Dated { day, times, look } = dated;
        let mut label = format!("{} : {}", lang.date(date_of(day)), lang.look(look));
        if lang == Lang::En {
            label = label.replacen(" : ", ": ", 1);
        }
        if let Some(share) = times.and_then(Day::uptime) {
            label.push_str(&format!(", {} {}", lang.percent(share), lang.words().uptime));
        }
        Self { x: at * 4, look, label }
    }
}

/// Merges consecutive days that read the same, newest first: 90 quiet days are one row.
fn rows(dated: &[Dated<'_>], lang: Lang) -> Vec<Row> {
    let mut rows: Vec<(i64, i64, Look, String, String)> = Vec::new();
    for &Dated { day, times, look } in dated.iter().rev() {
        let uptime = times.and_then(Day::uptime).map_or_else(|| "–".to_owned(), |share| lang.percent(share));
        let down_ms = times.map_or(0, |times| times.down_ms);
        let down = if down_ms == 0 { "–".to_owned() } else { lang.duration(down_ms) };
        match rows.last_mut() {
            Some((from, _, last, share, lost)) if (*last, &*share, &*lost) == (look, &uptime, &down) => *from = day,
            _ => rows.push((day, day, look, uptime, down)),
        }
    }
    let date = |day: i64| lang.short_date(date_of(day));
    let text = |from: i64, until: i64| {
        if from == until { date(from) } else { format!("{} {} {}", date(from), lang.words().to, date(until)) }
    };
    rows.into_iter()
        .map(|(from, until, look, uptime, down)| Row { days: text(from, until), state: lang.look(look), uptime, down })
        .collect()
}

impl IncidentView {
    fn new(snapshot: &Snapshot, incident: &PublicIncident, lang: Lang) -> Self {
        let names: Vec<&str> = incident.checks.iter().map(|id| snapshot.name_of(id)).collect();
        let until = incident.resolved_at.unwrap_or(snapshot.at);
        Self {
            id: incident.id.as_str().to_owned(),
            title: format!("{} {}", lang.words().problem_with, lang.names(&names)),
            impact: lang.severity(incident.severity),
            impact_class: incident.severity.as_str(),
            open: incident.resolved_at.is_none(),
            services: names.into_iter().map(str::to_owned).collect(),
            began: lang.instant(incident.opened_at),
            began_machine: machine(incident.opened_at),
            ended: incident.resolved_at.map(|at| (lang.instant(at), machine(at))),
            lasted: lang.duration(until.as_millisecond() - incident.opened_at.as_millisecond()),
            steps: incident
                .steps
                .iter()
                .rev()
                .map(|step| StepView {
                    at: lang.instant(step.at),
                    at_machine: machine(step.at),
                    class: step.action.as_str(),
                    text: lang.action(step.action),
                    note: step.note.clone(),
                })
                .collect(),
        }
    }

    /// What was last written for the public, if anything was.
    fn latest_note(&self) -> Option<&str> {
        self.steps.iter().find(|step| step.class == PublicAction::Published.as_str()).map(|step| step.note.as_str())
    }
}

impl IncidentPage {
    pub(super) fn new(snapshot: &Snapshot, incident: &PublicIncident, frame: Frame) -> Self {
        Self { incident: IncidentView::new(snapshot, incident, frame.lang), frame }
    }
}

impl Feed {
    pub(super) fn new(snapshot: &Snapshot, lang: Lang) -> Self {
        let newest = snapshot.incidents.iter().map(PublicIncident::updated_at).max();
        let entries = snapshot.incidents.iter().take(50).map(|incident| Entry {
            view: IncidentView::new(snapshot, incident, lang),
            updated: machine(incident.updated_at()),
        });
        Self {
            lang,
            words: lang.words(),
            title: snapshot.title.clone(),
            url: snapshot.url.clone(),
            // Without incidents any constant will do; the time of asking would make every answer new.
            updated: machine(newest.unwrap_or(Timestamp::UNIX_EPOCH)),
            entries: entries.collect(),
        }
    }
}

/// RFC 3339, to the second.
fn machine(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn date_of(day: i64) -> Date {
    let at = Timestamp::from_millisecond(day * DAY_MS).unwrap_or_default();
    at.to_zoned(TimeZone::UTC).date()
}
