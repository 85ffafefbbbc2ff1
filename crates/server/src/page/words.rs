//! The texts of the public pages, in one place for both languages.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use model::{Sector, Severity};

use super::snapshot::Look;
use crate::history::PublicAction;

/// A language of the public pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lang {
    En,
    Fr,
}

/// Narrow no-break space: between a number and what follows it, in French.
const NNBSP: char = '\u{202f}';
/// No-break space.
const NBSP: char = '\u{a0}';

impl Lang {
    pub(crate) const ALL: [Self; 2] = [Self::En, Self::Fr];

    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Fr => "fr",
        }
    }

    pub(crate) const fn other(self) -> Self {
        match self {
            Self::En => Self::Fr,
            Self::Fr => Self::En,
        }
    }

    pub(crate) fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|lang| lang.code().eq_ignore_ascii_case(code))
    }

    /// Returns the language that `Accept-Language` likes best (RFC 9110 section 12.5.4); English when it names neither.
    pub(crate) fn negotiate(accept: &str) -> Self {
        let mut best = (0.0_f32, Self::En);
        for range in accept.split(',').take(32) {
            let mut parts = range.split(';').map(str::trim);
            let tag = parts.next().unwrap_or_default();
            let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(1.0, |q| q.parse().unwrap_or(0.0));
            let primary = tag.split('-').next().unwrap_or_default();
            if let Some(lang) = Self::from_code(primary).filter(|_| weight > best.0) {
                best = (weight, lang);
            }
        }
        best.1
    }

    pub(crate) const fn words(self) -> &'static Words {
        match self {
            Self::En => &EN,
            Self::Fr => &FR,
        }
    }

    /// `22 November 2026`, `1er novembre 2026`.
    pub(crate) fn date(self, date: Date) -> String {
        let month = self.words().months[usize::try_from(date.month() - 1).unwrap_or(0)];
        match (self, date.day()) {
            (Self::Fr, 1) => format!("1er{NBSP}{month} {}", date.year()),
            (_, day) => format!("{day}{NBSP}{month} {}", date.year()),
        }
    }

    /// `22 Nov`, `22 nov.`: where the year is plain and room is short.
    pub(crate) fn short_date(self, date: Date) -> String {
        let month = self.words().months_short[usize::try_from(date.month() - 1).unwrap_or(0)];
        format!("{}{NBSP}{month}", date.day())
    }

    /// `22 November 2026, 18:02 UTC`.
    pub(crate) fn instant(self, at: Timestamp) -> String {
        let civil = at.to_zoned(TimeZone::UTC).datetime();
        let (hour, minute) = (civil.hour(), civil.minute());
        match self {
            Self::En => format!("{}, {hour:02}:{minute:02} UTC", self.date(civil.date())),
            Self::Fr => format!("{} à {hour:02}:{minute:02} UTC", self.date(civil.date())),
        }
    }

    /// `2 d 4 h`, `2 h 5 min`, `5 min`, `12 s`: the two largest units.
    pub(crate) fn duration(self, ms: i64) -> String {
        let seconds = ms.max(0) / 1_000;
        let day = self.words().day_short;
        let parts =
            [(seconds / 86_400, day), (seconds / 3_600 % 24, "h"), (seconds / 60 % 60, "min"), (seconds % 60, "s")];
        let first = parts.iter().position(|(count, _)| *count > 0).unwrap_or(3);
        let shown: Vec<String> = parts
            .iter()
            .skip(first)
            // Seconds beside minutes would be noise.
            .take(if first == 2 { 1 } else { 2 })
            .filter(|(count, _)| *count > 0 || first == 3)
            .map(|(count, unit)| format!("{count}{NBSP}{unit}"))
            .collect();
        shown.join(" ")
    }

    /// `99.95%`, `99,95 %`: cut off, never rounded up, so that only what never failed is 100.
    pub(crate) fn percent(self, share: f64) -> String {
        let hundredths = (share.clamp(0.0, 1.0) * 10_000.0 + 1e-6).floor();
        let text = if hundredths >= 10_000.0 { "100".to_owned() } else { format!("{:.2}", hundredths / 100.0) };
        match self {
            Self::En => format!("{text}%"),
            Self::Fr => format!("{}{NNBSP}%", text.replace('.', ",")),
        }
    }

    /// `Web`, `Web and Mail`, `Web, Mail and 3 more`.
    pub(crate) fn names(self, names: &[&str]) -> String {
        let words = self.words();
        match names {
            [] => String::new(),
            [one] => (*one).to_owned(),
            [one, two] => format!("{one} {} {two}", words.and),
            [one, two, rest @ ..] => format!("{one}, {two} {} {} {}", words.and, rest.len(), words.more),
        }
    }

    pub(crate) const fn look(self, look: Look) -> &'static str {
        let words = self.words();
        match look {
            Look::Up => words.up,
            Look::Degraded => words.degraded,
            Look::Down => words.down,
            Look::Unknown => words.unknown,
            Look::Maintenance => words.maintenance,
            Look::NoData => words.no_data,
        }
    }

    pub(crate) const fn headline(self, overall: Look) -> &'static str {
        let words = self.words();
        match overall {
            Look::Up => words.all_up,
            Look::Degraded => words.some_degraded,
            Look::Down => words.some_down,
            Look::Unknown => words.some_unknown,
            Look::Maintenance => words.in_maintenance,
            Look::NoData => words.nothing_shown,
        }
    }

    pub(crate) const fn action(self, action: PublicAction) -> &'static str {
        let words = self.words();
        match action {
            PublicAction::Opened => words.step_opened,
            PublicAction::Acknowledged => words.step_acknowledged,
            PublicAction::Published => words.step_published,
            PublicAction::Resolved => words.step_resolved,
            PublicAction::Reopened => words.step_reopened,
        }
    }

    pub(crate) const fn severity(self, severity: Severity) -> &'static str {
        let words = self.words();
        match severity {
            Severity::Info => words.impact_info,
            Severity::Warning => words.impact_warning,
            Severity::Error => words.impact_error,
            Severity::Critical => words.impact_critical,
        }
    }

    /// The name of a sector, for checks that belong to no group; `None` for no sector in particular.
    pub(crate) const fn sector(self, sector: Sector) -> Option<&'static str> {
        let words = self.words();
        match sector {
            Sector::Health => Some(words.health),
            Sector::Education => Some(words.education),
            Sector::Ecommerce => Some(words.ecommerce),
            Sector::None => None,
        }
    }
}

macro_rules! words {
    ($($key:ident: $en:literal, $fr:literal;)*) => {
        /// Every text, in one language.
        pub(crate) struct Words {
            $(pub(crate) $key: &'static str,)*
            pub(crate) months: [&'static str; 12],
            pub(crate) months_short: [&'static str; 12],
        }

        static EN: Words = Words {
            $($key: $en,)*
            months: [
                "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
                "November", "December",
            ],
            months_short: ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"],
        };

        static FR: Words = Words {
            $($key: $fr,)*
            months: [
                "janvier", "février", "mars", "avril", "mai", "juin", "juillet", "août", "septembre", "octobre",
                "novembre", "décembre",
            ],
            months_short: [
                "janv.", "févr.", "mars", "avr.", "mai", "juin", "juil.", "août", "sept.", "oct.", "nov.", "déc.",
            ],
        };

        /// Every text by its key, in English and in French.
        #[cfg(test)]
        const PAIRS: &[(&str, &str, &str)] = &[$((stringify!($key), $en, $fr)),*];
    };
}

words! {
    skip: "Skip to the services", "Aller aux services";
    language: "Français", "English";
    navigation: "Feed and language", "Flux et langue";
    feed: "Feed", "Flux";
    feed_title: "Incidents", "Incidents";
    all_up: "All services work", "Tous les services fonctionnent";
    some_degraded: "Some services are degraded", "Certains services sont dégradés";
    some_down: "Some services are down", "Certains services sont en panne";
    some_unknown: "We cannot tell how some services are", "L’état de certains services est inconnu";
    in_maintenance: "Maintenance in progress", "Maintenance en cours";
    nothing_shown: "Nothing is shown here yet", "Rien n’est encore affiché ici";
    nothing_hint: "No check is listed under server.status_page.checks, or none has run.", "Aucune vérification n’est citée dans server.status_page.checks, ou aucune n’a encore eu lieu.";
    as_of: "As of", "Au";
    counted_up: "working", "en service";
    services: "Services", "Services";
    other_services: "Other services", "Autres services";
    not_shown: "more services are counted above and not shown here.", "autres services sont comptés ci-dessus et ne sont pas affichés ici.";
    health: "Health", "Santé";
    education: "Education", "Éducation";
    ecommerce: "E-commerce", "E-commerce";
    up: "Up", "En service";
    degraded: "Degraded", "Dégradé";
    down: "Down", "En panne";
    unknown: "Unknown", "Inconnu";
    maintenance: "Maintenance", "Maintenance";
    no_data: "No data", "Pas de données";
    since: "since", "depuis le";
    uptime: "uptime", "de disponibilité";
    uptime_over: "uptime over 90 days", "de disponibilité sur 90 jours";
    uptime_unknown: "no data yet", "pas encore de données";
    days_ago: "90 days ago", "Il y a 90 jours";
    today: "Today", "Aujourd’hui";
    strip: "Last 90 days", "90 derniers jours";
    strip_clean: "no outage", "aucune panne";
    strip_down: "days with an outage", "jours avec une panne";
    strip_down_one: "day with an outage", "jour avec une panne";
    day_by_day: "Day by day", "Jour par jour";
    days: "Days", "Jours";
    state: "State", "État";
    share: "Uptime", "Disponibilité";
    to: "to", "au";
    day_short: "d", "j";
    and: "and", "et";
    more: "more", "autres";
    open_incidents: "Open incidents", "Incidents en cours";
    past_incidents: "Past incidents", "Incidents passés";
    no_past: "No incident in the last 30 days.", "Aucun incident au cours des 30 derniers jours.";
    problem_with: "Problem with", "Problème :";
    impact_info: "Notice", "Information";
    impact_warning: "Minor impact", "Impact mineur";
    impact_error: "Major impact", "Impact majeur";
    impact_critical: "Critical impact", "Impact critique";
    began: "Began", "Début";
    ended: "Ended", "Fin";
    lasted: "Lasted", "Durée";
    ongoing: "Ongoing", "En cours";
    resolved: "Resolved", "Résolu";
    affected: "Affected", "Concerne";
    timeline: "What happened", "Déroulement";
    step_opened: "We noticed a problem.", "Nous avons constaté un problème.";
    step_acknowledged: "Somebody is working on it.", "Quelqu’un y travaille.";
    step_published: "Update", "Nouvelle";
    step_resolved: "The problem is solved.", "Le problème est résolu.";
    step_reopened: "The problem is back.", "Le problème est revenu.";
    back: "All services", "Tous les services";
    not_found: "There is no such page", "Cette page n’existe pas";
    not_found_hint: "The incident may be older than what we remember, or it was never public.", "L’incident est peut-être trop ancien, ou n’a jamais été public.";
    legend: "Key", "Légende";
    utc: "All times are UTC.", "Toutes les heures sont en UTC.";
    made_by: "Watched by Dihya", "Surveillé par Dihya";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_languages_have_every_text() {
        for (key, en, fr) in PAIRS {
            assert!(!en.trim().is_empty() && !fr.trim().is_empty(), "{key}");
            assert!(!fr.contains('\''), "{key}: a French apostrophe is ’");
        }
        // The compiler made the two tables from these pairs, so neither can lack a key.
        assert!(PAIRS.len() > 50);
    }

    #[test]
    fn the_browser_gets_what_it_likes_best() {
        for (accept, lang) in [
            ("", Lang::En),
            ("fr", Lang::Fr),
            ("fr-CA,fr;q=0.9,en;q=0.8", Lang::Fr),
            ("en;q=0.4, fr;q=0.5", Lang::Fr),
            ("de,ar", Lang::En),
            ("de, fr;q=0.1", Lang::Fr),
            ("FR", Lang::Fr),
            ("fr;q=0", Lang::En),
            ("fr;q=x, *", Lang::En),
        ] {
            assert_eq!(Lang::negotiate(accept), lang, "{accept}");
        }
        assert_eq!(Lang::from_code("de"), None);
        assert_eq!((Lang::Fr.other(), Lang::En.other()), (Lang::En, Lang::Fr));
    }

    #[test]
    fn times_read_as_people_write_them() {
        let at: Timestamp = "2026-11-01T08:05:00Z".parse().expect("a time");
        assert_eq!(Lang::En.instant(at), "1\u{a0}November 2026, 08:05 UTC");
        assert_eq!(Lang::Fr.instant(at), "1er\u{a0}novembre 2026 à 08:05 UTC");
        for (ms, en) in [
            (0, "0 s"),
            (12_000, "12 s"),
            (300_000, "5 min"),
            (312_000, "5 min"),
            (7_500_000, "2 h 5 min"),
            (7_200_000, "2 h"),
            (187_200_000, "2 d 4 h"),
            (-5, "0 s"),
        ] {
            assert_eq!(Lang::En.duration(ms).replace('\u{a0}', " "), en);
        }
        assert_eq!(Lang::Fr.duration(86_400_000).replace('\u{a0}', " "), "1 j");
    }

    #[test]
    fn only_what_never_failed_is_100() {
        for (share, en) in [(1.0, "100%"), (0.999_99, "99.99%"), (0.9995, "99.95%"), (0.0, "0.00%"), (2.0, "100%")] {
            assert_eq!(Lang::En.percent(share), en);
        }
        assert_eq!(Lang::Fr.percent(0.9995), "99,95\u{202f}%");
    }

    #[test]
    fn lists_of_names_stay_short() {
        assert_eq!(Lang::En.names(&[]), "");
        assert_eq!(Lang::En.names(&["a"]), "a");
        assert_eq!(Lang::Fr.names(&["a", "b"]), "a et b");
        assert_eq!(Lang::En.names(&["a", "b", "c", "d"]), "a, b and 2 more");
    }
}
