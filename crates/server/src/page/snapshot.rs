//! What the public may see at one moment: the checks of the allow-list, their days, and the incidents about them.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use jiff::Timestamp;
use model::limits::{STATUS_CHECKS_MAX, STATUS_DAYS};
use model::{Sector, State};

use crate::config::Config;
use crate::history::{Day, Days, PublicIncident};
use crate::seam::Check;

const DAY_MS: i64 = 86_400_000;
/// A day is shown as worse than "up" from this much time on, or from half of what is known of it: a blip of one probe is
/// not a bad day, and the first seconds of a day that began badly are.
const NOTICED_MS: i64 = 30_000;

/// How something is drawn: a state, maintenance, or nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Look {
    Up,
    Degraded,
    Down,
    Unknown,
    Maintenance,
    NoData,
}

impl Look {
    /// All looks, in the order of the legend.
    pub(crate) const ALL: [Self; 6] =
        [Self::Up, Self::Degraded, Self::Down, Self::Maintenance, Self::Unknown, Self::NoData];

    /// The word in class names and in the ids of symbols.
    pub(crate) const fn class(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Degraded => "degraded",
            Self::Down => "down",
            Self::Unknown => "unknown",
            Self::Maintenance => "maintenance",
            Self::NoData => "nodata",
        }
    }

    pub(crate) const fn of_state(state: State, maintenance: bool) -> Self {
        match (maintenance, state) {
            (true, _) => Self::Maintenance,
            (false, State::Up) => Self::Up,
            (false, State::Degraded) => Self::Degraded,
            (false, State::Down) => Self::Down,
            (false, State::Unknown) => Self::Unknown,
        }
    }

    /// How a day looks: by the worst that lasted, then by what filled most of it.
    pub(crate) fn of_day(day: Option<&Day>) -> Self {
        let Some(day) = day else { return Self::NoData };
        let known = day.up_ms + day.degraded_ms + day.down_ms;
        let noticed = |ms: i64| ms >= NOTICED_MS || ms > 0 && ms * 2 >= known;
        if noticed(day.down_ms) {
            Self::Down
        } else if noticed(day.degraded_ms) {
            Self::Degraded
        } else if day.maintenance_ms > known && day.maintenance_ms >= day.unknown_ms {
            Self::Maintenance
        } else if day.unknown_ms > known {
            Self::Unknown
        } else if known > 0 {
            Self::Up
        } else {
            Self::NoData
        }
    }

    const fn gravity(self) -> u8 {
        match self {
            Self::NoData => 0,
            Self::Up => 1,
            Self::Maintenance => 2,
            Self::Degraded => 3,
            Self::Unknown => 4,
            Self::Down => 5,
        }
    }

    pub(crate) fn worst(looks: impl IntoIterator<Item = Self>) -> Self {
        looks.into_iter().max_by_key(|look| look.gravity()).unwrap_or(Self::NoData)
    }
}

/// A check, as the public sees it: no reason, no address, no condition.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) group: String,
    pub(crate) sector: Sector,
    pub(crate) look: Look,
    pub(crate) since: Timestamp,
    /// The last 90 days, oldest first; `None` for a day without data.
    pub(crate) days: Vec<Option<Day>>,
}

impl Shown {
    /// Returns how each day looks; today never better than the check looks now.
    pub(crate) fn looks(&self) -> Vec<Look> {
        let mut looks: Vec<Look> = self.days.iter().map(|day| Look::of_day(day.as_ref())).collect();
        if let (Some(today), Look::Down | Look::Degraded) = (looks.last_mut(), self.look) {
            *today = Look::worst([*today, self.look]);
        }
        looks
    }

    pub(crate) fn uptime(&self) -> Option<f64> {
        let mut sum = Day::default();
        self.days.iter().flatten().for_each(|day| sum.add(day));
        sum.uptime()
    }
}

/// The checks that the configuration lets the public see, before their history is known.
pub(crate) struct Allowed {
    overall: Look,
    working: usize,
    names: BTreeMap<String, String>,
    shown: Vec<Check>,
}

impl Allowed {
    /// Keeps what the allow-list names; of more than a page can hold, the worst.
    pub(crate) fn of(config: &Config, bound: SocketAddr, board: Vec<Check>) -> Self {
        let look = |check: &Check| Look::of_state(check.result.state, check.result.maintenance);
        let mut shown: Vec<Check> = board.into_iter().filter(|check| config.shows(&check.result.id, bound)).collect();
        let names = shown.iter().map(|check| (check.result.id.clone(), check.result.name.clone())).collect();
        let overall = Look::worst(shown.iter().map(look));
        let working = shown.iter().filter(|check| matches!(look(check), Look::Up | Look::Degraded)).count();
        if shown.len() > STATUS_CHECKS_MAX {
            shown.sort_by_key(|check| std::cmp::Reverse(look(check).gravity()));
            shown.truncate(STATUS_CHECKS_MAX);
        }
        shown.sort_by(|a, b| a.result.name.cmp(&b.result.name).then_with(|| a.result.id.cmp(&b.result.id)));
        Self { overall, working, names, shown }
    }

    pub(crate) fn shown_ids(&self) -> Vec<&str> {
        self.shown.iter().map(|check| check.result.id.as_str()).collect()
    }
}

/// What the public may see at one moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) title: String,
    pub(crate) url: String,
    pub(crate) at: Timestamp,
    /// The number of today since 1970-01-01, UTC.
    pub(crate) today: i64,
    /// The verdict on all checks of the list, shown or only counted.
    pub(crate) overall: Look,
    /// How many of them work, degraded or not.
    pub(crate) working: usize,
    /// Ascending by name.
    pub(crate) checks: Vec<Shown>,
    /// How many further checks of the list the page has no room for.
    pub(crate) more: usize,
    /// Newest first; each names at least one check of the list, and only such.
    pub(crate) incidents: Vec<PublicIncident>,
    names: BTreeMap<String, String>,
}

impl Snapshot {
    /// Joins what the public may see of the board with what the history says about it.
    pub(crate) fn of(
        config: &Config,
        bound: SocketAddr,
        at: Timestamp,
        allowed: Allowed,
        mut days: HashMap<String, Days>,
        incidents: Vec<PublicIncident>,
    ) -> Self {
        let today = at.as_millisecond().div_euclid(DAY_MS);
        let Allowed { overall, working, names, shown } = allowed;
        let more = names.len() - shown.len();
        let show = |check: Check| {
            let days = days.remove(&check.result.id).unwrap_or_default();
            Shown {
                days: ((today - STATUS_DAYS + 1)..=today).map(|day| days.get(&day).copied()).collect(),
                look: Look::of_state(check.result.state, check.result.maintenance),
                id: check.result.id,
                name: check.result.name,
                group: check.group,
                sector: check.sector,
                since: check.result.since,
            }
        };
        let checks = shown.into_iter().map(show).collect();
        let incidents = incidents
            .into_iter()
            .filter_map(|mut incident| {
                incident.checks.retain(|id| names.contains_key(id));
                (!incident.checks.is_empty()).then_some(incident)
            })
            .collect();
        let title = &config.status_page.title;
        let title = if title.is_empty() { "Dihya".to_owned() } else { title.clone() };
        Self { title, url: config.url(bound), at, today, overall, working, checks, more, incidents, names }
    }

    pub(crate) fn name_of<'a>(&'a self, id: &'a str) -> &'a str {
        self.names.get(id).map_or(id, String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_looks_like_the_worst_that_lasted() {
        let minute = 60_000;
        let day = |up_ms, degraded_ms, down_ms, unknown_ms, maintenance_ms| {
            Look::of_day(Some(&Day { up_ms, degraded_ms, down_ms, unknown_ms, maintenance_ms }))
        };
        assert_eq!(day(100 * minute, minute, minute, 0, 0), Look::Down);
        assert_eq!(day(100 * minute, minute, 1, 0, 0), Look::Degraded);
        assert_eq!(day(100 * minute, 1, 1, 0, 0), Look::Up);
        assert_eq!(day(0, 0, 10_000, 0, 0), Look::Down, "all that is known of the day");
        assert_eq!(day(1_000, 10_000, 0, 0, 0), Look::Degraded);
        assert_eq!(day(minute, 0, 0, 100 * minute, 0), Look::Unknown);
        assert_eq!(day(minute, 0, 0, 0, 100 * minute), Look::Maintenance);
        assert_eq!(day(0, 0, 0, 0, 0), Look::NoData);
        assert_eq!(Look::of_day(None), Look::NoData);
    }

    #[test]
    fn maintenance_hides_behind_trouble_and_before_up() {
        use Look::*;
        assert_eq!(Look::worst([Up, Maintenance]), Maintenance);
        assert_eq!(Look::worst([Maintenance, Degraded, Up]), Degraded);
        assert_eq!(Look::worst([Unknown, Degraded, Down]), Down);
        assert_eq!(Look::worst([]), NoData);
        assert_eq!(Look::of_state(State::Down, true), Maintenance);
    }
}
