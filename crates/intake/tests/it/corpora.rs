//! Documents made from a seed: what the bench sends, and what the test of equality clears.

use model::SeededRng;

/// The action line of each document.
pub(crate) const ACTION: &str = "{\"create\":{\"_index\":\"app\"}}\n";

/// A request of a web server, with an address and an agent: few findings.
pub(crate) fn web(rng: &SeededRng, n: u64) -> String {
    const PATHS: [&str; 7] =
        ["/", "/cart", "/api/v1/orders", "/static/app.3f9c1d.js", "/search?q=shoes&page=2", "/healthz", "/login"];
    const AGENTS: [&str; 3] =
        ["Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", "curl/8.5.0", "kube-probe/1.30"];
    let below = |bound: u64| rng.below(bound);
    let of = |words: &[&'static str]| words[usize::try_from(below(words.len() as u64)).unwrap_or(0)];
    format!(
        "{{\"@timestamp\": \"2026-11-27T10:{:02}:{:02}.{:03}Z\", \"log.level\": \"info\", \"message\": \"{} {} {} {} 0.{:03}s \
         upstream=app-{}:8080 request_id={:016x}{:016x}\", \"client\": {{\"ip\": \"198.51.100.{}\"}}, \"user_agent\": \
         {{\"original\": \"{}\"}}, \"service\": {{\"name\": \"shop\", \"version\": \"4.12.0\"}}, \"http\": {{\"response\": \
         {{\"bytes\": {}}}}}}}",
        n / 60 % 60,
        n % 60,
        below(1000),
        of(&["GET", "POST"]),
        of(&PATHS),
        of(&["200", "200", "200", "304", "404"]),
        below(90_000),
        below(1000),
        below(9),
        rng.next_u64(),
        rng.next_u64(),
        1 + below(254),
        of(&AGENTS),
        below(90_000),
    )
}

/// A line of an application full of mail addresses, telephone numbers and names.
pub(crate) fn dense(rng: &SeededRng, n: u64) -> String {
    const NAMES: [&str; 4] = ["marie.dupont", "j.martin", "ana.silva", "k.benali"];
    let pair = || 10 + rng.below(89);
    let name = NAMES[usize::try_from(rng.below(4)).unwrap_or(0)];
    format!(
        "{{\"@timestamp\": \"2026-11-27T10:{:02}:{:02}Z\", \"level\": \"warn\", \"message\": \"patient M. Dupont \
         ({name}{}@example.org, tel 06 {} {} {} {}) logged in from 203.0.113.{} card 4111 1111 1111 1111 iban FR76 3000 \
         6000 0112 3456 7890 189 born 12/03/19{}\", \"user\": {{\"email\": \"{name}@example.org\"}}, \"service\": \
         {{\"name\": \"his\"}}}}",
        n / 60 % 60,
        n % 60,
        n % 97,
        pair(),
        pair(),
        pair(),
        pair(),
        rng.below(255),
        50 + rng.below(49),
    )
}
