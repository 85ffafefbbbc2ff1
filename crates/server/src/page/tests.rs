//! The public pages as a stranger gets them.

use std::time::Duration;

use model::{IncidentAction, State};

use super::words::Lang;
use crate::config::Config;
use crate::doubles::{Fixture, check, follow, now, recorded, request, transition};
use crate::seam::Check;

/// A house with something of everything: each state, each kind of day, incidents open and closed.
async fn house() -> Fixture {
    let config = serde_json::json!({
        "external_url": "https://status.clinique.example",
        "status_page": {
            "title": "Clinique des Tilleuls",
            "checks": ["web", "agenda", "labo", "mail", "backup", "dns", "shop"],
        },
    });
    let fixture = Fixture::with(Config::from_json(&config).expect("reads")).await;
    let with = |check: Check, group: &str| Check { group: group.into(), ..check };
    fixture.board.put(with(check("web", "Portail patient", State::Down), "Patients"));
    fixture.board.put(with(check("agenda", "Prise de rendez-vous", State::Up), "Patients"));
    fixture.board.put(with(check("labo", "Résultats de laboratoire", State::Degraded), "Patients"));
    fixture.board.put(with(check("mail", "Messagerie sécurisée", State::Up), "Infrastructure"));
    fixture.board.put(with(check("dns", "DNS", State::Unknown), "Infrastructure"));
    fixture.board.put(Check { sector: model::Sector::Ecommerce, ..check("shop", "Boutique", State::Up) });
    let mut backup = check("backup", "Sauvegardes <b>nocturnes</b>", State::Up);
    backup.result.maintenance = true;
    fixture.board.put(backup);
    fixture.board.put(check("covert", "Secret project", State::Down));
    follow(&fixture.parts.history, records()).await;
    fixture
}

const HOUR: Duration = Duration::from_secs(3_600);

fn records() -> Vec<model::Recorded> {
    let begin = now() - 24 * 70 * HOUR;
    let mut records = Vec::new();
    for hour in 0..(24 * 70) {
        let at = begin + hour * HOUR;
        let day = hour / 24;
        for (id, state, maintenance) in [
            ("web", if day == 30 && hour % 24 < 6 || hour > 24 * 70 - 3 { State::Down } else { State::Up }, false),
            ("agenda", State::Up, false),
            ("labo", if (50..53).contains(&day) { State::Degraded } else { State::Up }, false),
            ("mail", if day % 23 == 4 && hour % 24 == 3 { State::Down } else { State::Up }, false),
            ("dns", if (20..25).contains(&day) { State::Unknown } else { State::Up }, false),
            ("backup", State::Up, (10..12).contains(&day)),
            ("covert", State::Down, false),
        ] {
            // The machine was off for three days.
            if !(40..43).contains(&day) {
                let mut result = check(id, id, state).result;
                result.maintenance = maintenance;
                records.push((at, model::Body::from(result)));
            }
        }
    }
    let step = |id: &str, action, check: &str, note: &str, ago: Duration| {
        (now() - ago, model::Body::from(transition(id, action, check, note)))
    };
    let hour = |hours: u32| hours * HOUR;
    use IncidentAction::*;
    records.extend([
        step("01OLD", Opened, "mail", "", hour(24 * 9 + 5)),
        step("01OLD", Resolved, "mail", "", hour(24 * 9 + 4)),
        step("02SECRET", Opened, "covert", "", hour(60)),
        step("03PAST", Opened, "labo", "", hour(50)),
        step("03PAST", Joined, "agenda", "", hour(50)),
        step("03PAST", Noted, "labo", "the password is on the fridge", hour(49)),
        step("03PAST", Resolved, "labo", "", hour(48)),
        step("03PAST", Reopened, "labo", "", hour(47)),
        step("03PAST", Published, "labo", "Un disque a été remplacé.\nAucune donnée n’est perdue.", hour(46)),
        step("03PAST", Resolved, "labo", "", hour(45)),
        step("04OPEN", Opened, "web", "", hour(2)),
        step("04OPEN", Acknowledged, "web", "I am on it", hour(1)),
        step("04OPEN", Published, "web", "Le portail ne répond pas. Nos équipes cherchent la cause <script>.", hour(1)),
    ]);
    (0..).zip(records).map(|(position, (at, body))| recorded(position, at, body)).collect()
}

/// Checks that every tag is closed in order, as XML wants it; HTML's void elements may stay open.
fn well_formed(text: &str) {
    const VOID: [&str; 4] = ["meta", "link", "img", "br"];
    let mut open: Vec<&str> = Vec::new();
    for piece in text.split('<').skip(1) {
        let (tag, _) = piece.split_once('>').unwrap_or_else(|| panic!("a tag without end: {piece}"));
        let name = tag.trim_start_matches('/').split([' ', '/', '\n']).next().unwrap_or_default();
        if tag.starts_with(['!', '?']) || tag.ends_with('/') || VOID.contains(&name) {
            continue;
        }
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "closed out of order");
        } else {
            open.push(name);
        }
    }
    assert_eq!(open, Vec::<&str>::new(), "left open");
}

/// Returns the values of an attribute.
fn attributes<'a>(html: &'a str, name: &str) -> Vec<&'a str> {
    let needle = format!(" {name}=\"");
    html.split(needle.as_str()).skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

const PAGES: [&str; 6] = [
    "/status?lang=en",
    "/status?lang=fr",
    "/status/incidents/04OPEN?lang=fr",
    "/status/incidents/03PAST?lang=en",
    "/status/incidents/nope",
    "/status/feed.atom",
];

#[tokio::test]
async fn strangers_see_the_allow_list_and_nothing_else() {
    let fixture = house().await;
    for path in PAGES {
        let answer = fixture.open(path).await;
        for secret in ["Secret project", "covert", "internal", "I am on it", "fridge", "ana", "02SECRET", "<script"] {
            assert!(!answer.text.contains(secret), "{path} says {secret}");
        }
        assert!(!answer.text.contains("<b>"), "{path} does not escape");
        well_formed(&answer.text);
    }
    for path in ["/status/incidents/02SECRET", "/status/badge/covert.svg", "/status/badge/web", "/status/badge/.svg"] {
        assert_eq!(fixture.open(path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn pages_need_no_script_and_ask_nobody_else() {
    let fixture = house().await;
    for path in PAGES.iter().take(5) {
        let answer = fixture.open(path).await;
        for unwanted in ["<script", " style=\"", " onclick", "javascript:", "http-equiv", "@import"] {
            assert!(!answer.text.contains(unwanted), "{path} has {unwanted}");
        }
        for link in attributes(&answer.text, "href").into_iter().chain(attributes(&answer.text, "src")) {
            assert!(link.starts_with("/status") || link.starts_with(['#', '?']), "{path} links to {link}");
        }
        assert!(answer.header("content-security-policy").starts_with("default-src 'none'; style-src 'self'"));
    }
    let style = fixture.open("/status/style.css").await;
    assert!(!style.text.contains("url(") && style.header("content-type").starts_with("text/css"));
    assert_eq!(fixture.open("/status/icon.svg").await.header("content-type"), "image/svg+xml");
}

#[tokio::test]
async fn a_screen_reader_finds_its_way() {
    let fixture = house().await;
    for path in PAGES.iter().take(5) {
        let html = fixture.open(path).await.text;
        let ids = attributes(&html, "id");
        for wanted in attributes(&html, "aria-labelledby") {
            assert!(ids.contains(&wanted), "{path} is labelled by {wanted}, which is not there");
        }
        for link in attributes(&html, "href").iter().filter_map(|link| link.strip_prefix('#')) {
            assert!(ids.contains(&link), "{path} points to #{link}, which is not there");
        }
        let levels: Vec<u32> = html
            .split("<h")
            .filter_map(|rest| rest.chars().next()?.to_digit(10).filter(|_| rest.chars().nth(1) != Some('t')))
            .collect();
        assert_eq!(levels.iter().filter(|level| **level == 1).count(), 1, "{path}: {levels:?}");
        assert!(levels.windows(2).all(|pair| pair[1] <= pair[0] + 1), "{path} skips a level: {levels:?}");
        for landmark in ["<header", "<nav aria-label", "<main", "<footer", "class=\"skip\""] {
            assert!(html.contains(landmark), "{path} has no {landmark}");
        }
        let images = html.matches("role=\"img\"").count();
        assert_eq!(html.matches("role=\"img\" aria-label=\"").count(), images, "{path} has a picture without a name");
    }
    let html = fixture.open("/status?lang=en").await.text;
    assert!(html.contains("<nav aria-label=\"Feed and language\">"), "a landmark is named by what it holds");
    assert!(html.contains("aria-label=\"Messagerie sécurisée, Last 90 days: 99.81% uptime, 3 days with an outage\""));
    assert!(html.contains("aria-label=\"Prise de rendez-vous, Last 90 days: 100% uptime, no outage\""));
    assert!(html.contains("aria-label=\"Boutique, Last 90 days: no data yet\""));
    // The table says what the strip shows: quiet days are one row.
    assert!(html.contains("<td>Down</td><td>95.83%</td><td>1\u{a0}h</td>"), "an hour of outage in a day");
    for look in ["up", "degraded", "down", "unknown", "maintenance", "nodata"] {
        assert!(html.contains(&format!("<use href=\"#s-{look}\"/>")), "no shape for {look}");
    }
    for pattern in ["fill=\"url(#p-unknown)\"", "fill=\"url(#p-maintenance)\""] {
        assert!(html.contains(pattern), "{pattern}");
    }
}

#[tokio::test]
async fn each_reader_gets_their_language() {
    let fixture = house().await;
    let french = |path: &str| {
        let mut request = request("GET", path, "", "");
        request.headers_mut().insert("accept-language", "fr-FR,fr;q=0.9,en;q=0.5".parse().expect("a header"));
        request
    };
    let answer = fixture.send(french("/status")).await;
    assert!(answer.text.contains("<html lang=\"fr\">") && answer.text.contains("Certains services sont en panne"));
    assert_eq!(answer.header("vary"), "accept-language");
    assert!(answer.text.contains("href=\"/status/incidents/04OPEN\""), "links stay clean");
    let chosen = fixture.send(french("/status?utm=x&lang=en")).await;
    assert!(chosen.text.contains("<html lang=\"en\">") && chosen.text.contains("Some services are down"));
    assert!(chosen.text.contains("href=\"/status/incidents/04OPEN?lang=en\""), "links keep the choice");
    assert!(fixture.open("/status?lang=de").await.text.contains("<html lang=\"en\">"));
    let feed = fixture.send(french("/status/feed.atom")).await;
    assert!(feed.text.contains("xml:lang=\"fr\""));
}

#[tokio::test]
async fn a_feed_has_what_atom_asks_for() {
    let fixture = house().await;
    let feed = fixture.open("/status/feed.atom").await;
    assert_eq!(feed.header("content-type"), "application/atom+xml; charset=utf-8");
    for wanted in [
        "<id>https://status.clinique.example/status/feed.atom</id>",
        "<updated>2026-11-22T17:00:00Z</updated>",
        "rel=\"self\" type=\"application/atom+xml\" href=\"https://status.clinique.example/status/feed.atom\"",
        "<id>urn:dihya:incident:04OPEN</id>",
        "<title>Resolved – Problem with Prise de rendez-vous and Résultats de laboratoire</title>",
        "<published>2026-11-20T16:00:00Z</published>",
        "href=\"https://status.clinique.example/status/incidents/03PAST\"",
    ] {
        assert!(feed.text.contains(wanted), "{wanted}");
    }
    assert_eq!(feed.text.matches("<entry>").count(), 3);
    let empty = Fixture::new().await.open("/status/feed.atom").await.text;
    assert!(empty.contains("<updated>1970-01-01T00:00:00Z</updated>"));
    well_formed(&empty);
}

#[tokio::test]
async fn badges_say_the_state_in_words_shape_and_colour() {
    let fixture = house().await;
    for (id, state, colour) in [
        ("web", "Down", "#bd1f2d"),
        ("agenda", "Up", "#15743a"),
        ("labo", "Degraded", "#8f5f00"),
        ("dns", "Unknown", "#56606e"),
        ("backup", "Maintenance", "#1d5bb8"),
    ] {
        let badge = fixture.open(&format!("/status/badge/{id}.svg")).await;
        assert_eq!(badge.header("content-type"), "image/svg+xml");
        assert!(badge.text.contains(&format!(": {state}</title>")) && badge.text.contains(colour), "{}", badge.text);
        assert_eq!(badge.header("cross-origin-resource-policy"), "cross-origin");
        well_formed(&badge.text);
    }
}

#[tokio::test]
async fn a_page_is_made_anew_when_something_changed() {
    let fixture = house().await;
    let first = fixture.open("/status").await;
    let mut again = request("GET", "/status", "", "");
    again.headers_mut().insert("if-none-match", first.headers["etag"].clone());
    let same = fixture.send(again).await;
    assert_eq!((same.status, same.text.as_str()), (304, ""));
    fixture.board.put(check("web", "Portail patient", State::Up));
    assert_eq!(fixture.open("/status").await.text, first.text, "within the time that a page may lag");
    fixture.clock.advance(Duration::from_secs(6));
    assert!(!fixture.open("/status").await.text.contains("Some services are down"));
    fixture.board.put(check("web", "Portail patient", State::Down));
    let news = recorded(100_000, now(), crate::doubles::change("web", State::Down, now()));
    follow(&fixture.parts.history, vec![news]).await;
    assert!(fixture.open("/status").await.text.contains("Some services are down"), "a change does not wait");
}

#[tokio::test]
async fn a_page_that_is_not_public_asks_for_a_token() {
    let config = serde_json::json!({"status_page": {"public": false}});
    let fixture = Fixture::with(Config::from_json(&config).expect("reads")).await;
    for path in ["/status", "/status/feed.atom", "/status/badge/web.svg", "/status/incidents/x"] {
        let refused = fixture.open(path).await;
        assert_eq!(refused.status, 401, "{path}");
        assert!(refused.headers.get_all("www-authenticate").iter().any(|way| way.as_bytes().starts_with(b"Basic")));
    }
    let shown = fixture.get("/status").await;
    assert_eq!((shown.status, shown.header("cache-control")), (200, "private, no-store"));
    for path in ["/status/feed.atom", "/status/incidents/x"] {
        assert_eq!(fixture.get(path).await.header("cache-control"), "private, no-store", "{path}");
    }
    // It is the page of one tenant, and a token of another one is no key to it.
    let other = model::Tenant::new("other").expect("valid");
    let token = fixture.token_of(other, &[crate::token::Role::Admin], &[]).await;
    assert_eq!(fixture.send(request("GET", "/status", &token, "")).await.status, 403);
}

/// Asking for a language in the query made the page anew for every request.
#[tokio::test]
async fn a_chosen_language_is_rendered_once() {
    let fixture = house().await;
    fixture.open("/status?lang=fr").await;
    let kept = super::rendered(&fixture.app).await.expect("renders");
    assert!(kept.status[1][Lang::Fr as usize].get().is_some());
    let first = kept.status[1][Lang::Fr as usize].get().map(|page| page.body.as_ptr());
    assert!(fixture.open("/status?x=1&lang=fr").await.text.contains("<html lang=\"fr\">"));
    assert_eq!(kept.status[1][Lang::Fr as usize].get().map(|page| page.body.as_ptr()), first);
}

#[tokio::test]
async fn an_empty_page_says_why() {
    let fixture = Fixture::new().await;
    let page = fixture.open("/status").await;
    assert!(page.text.contains("Nothing is shown here yet") && page.text.contains("server.status_page.checks"));
    assert!(page.text.contains("<title>Nothing is shown here yet – Dihya</title>"));
    well_formed(&page.text);
    // On loopback, all checks show when nothing was said; a single group needs no heading of its own.
    fixture.board.put(check("disk", "Disk", State::Unknown));
    fixture.clock.advance(Duration::from_secs(6));
    let page = fixture.open("/status").await.text;
    assert!(page.contains("We cannot tell") && page.contains("Services</h2>") && page.contains("Disk"), "{page}");
    assert!(page.contains("No incident in the last 30 days."));
    // A service that has just broken shows it on today's bar, before the history knows.
    fixture.board.put(check("disk", "Disk", State::Down));
    fixture.clock.advance(Duration::from_secs(6));
    assert!(fixture.open("/status").await.text.contains("<title>22\u{a0}November 2026: Down</title>"));
}

#[tokio::test]
async fn a_page_has_room_for_the_worst() {
    let fixture = Fixture::new().await;
    for at in 0..250 {
        let state = if at == 249 { State::Down } else { State::Up };
        fixture.board.put(check(&format!("c{at:03}"), &format!("Check {at:03}"), state));
    }
    let page = fixture.open("/status?lang=en").await.text;
    assert!(page.contains("Some services are down") && page.contains("Check 249"));
    assert!(page.contains("50 more services are counted above") && page.contains("249/250 working"), "{page}");
    assert_eq!(page.matches("<li class=\"service\">").count(), 200);
}

#[tokio::test]
async fn a_history_that_cannot_be_read_is_an_answer() {
    let fixture = Fixture::new().await;
    fixture.pool.close().await;
    let answer = fixture.open("/status").await;
    assert_eq!((answer.status, answer.header("content-type")), (503, "application/problem+json"));
}

/// The relative luminance of WCAG 2.2.
fn luminance(hex: &str) -> f64 {
    let channel = |at: usize| {
        let value =
            f64::from(u8::from_str_radix(hex.get(at..at + 2).expect("two digits"), 16).expect("hexadecimal")) / 255.0;
        if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    };
    0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
}

fn contrast(a: &str, b: &str) -> f64 {
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

#[test]
fn colours_can_be_read_in_both_schemes() {
    let (light, dark) = super::STYLE.split_once("prefers-color-scheme: dark").expect("both schemes");
    for (scheme, css) in [("light", light), ("dark", dark)] {
        let value = |name: &str| {
            let start = css.find(&format!("--{name}: #")).unwrap_or_else(|| panic!("{scheme} has no --{name}"));
            let hex = css.get(start..).and_then(|rest| rest.split(": ").nth(1)).and_then(|rest| rest.get(..7));
            hex.expect("a colour").to_owned()
        };
        for (text, ground) in [
            ("text", "bg"),
            ("text", "card"),
            ("muted", "bg"),
            ("muted", "card"),
            ("link", "bg"),
            ("link", "card"),
            ("up", "card"),
            ("degraded", "card"),
            ("down", "card"),
            ("unknown", "card"),
            ("maintenance", "card"),
            ("text", "up-soft"),
            ("text", "down-soft"),
            ("muted", "up-soft"),
            ("muted", "degraded-soft"),
            ("muted", "down-soft"),
            ("muted", "unknown-soft"),
            ("muted", "maintenance-soft"),
            ("link", "unknown-soft"),
        ] {
            let ratio = contrast(&value(text), &value(ground));
            assert!(ratio >= 4.5, "{scheme}: {text} on {ground} is {ratio:.2}");
        }
        for (shape, ground) in [
            ("nodata", "card"),
            ("mark", "up"),
            ("mark", "degraded"),
            ("mark", "down"),
            ("mark", "unknown"),
            ("mark", "maintenance"),
            ("unknown", "unknown-soft"),
            ("maintenance", "maintenance-soft"),
        ] {
            let ratio = contrast(&value(shape), &value(ground));
            assert!(ratio >= 3.0, "{scheme}: {shape} on {ground} is {ratio:.2}");
        }
    }
    for colour in ["#15743a", "#8f5f00", "#bd1f2d", "#1d5bb8", "#56606e", "#30363f"] {
        assert!(contrast("#ffffff", colour) >= 4.5, "white on {colour}");
    }
    for lang in Lang::ALL {
        assert!(!lang.words().skip.is_empty());
    }
}
