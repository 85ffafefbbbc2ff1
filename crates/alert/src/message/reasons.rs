//! `reason`: what probes of ours say, in French. A sentence is put together of phrases, so it is taken apart and said
//! phrase by phrase; what comes from outside is no phrase of ours and stays as it is.

use std::collections::HashMap;
use std::sync::LazyLock;

const TABLE: &str = include_str!("../../locales/fr/reasons.txt");
/// What changes in a phrase.
const HOLE: &str = "{}";
/// How many phrases may stand within each other.
const DEPTH_MAX: u32 = 8;

static PHRASES: LazyLock<Phrases> = LazyLock::new(Phrases::read);

struct Phrases {
    whole: HashMap<&'static str, &'static str>,
    /// Those with holes, in the order of the table.
    holed: Vec<(&'static str, &'static str)>,
}

impl Phrases {
    fn read() -> Self {
        let (holed, whole) = phrases().partition(|(english, _)| english.contains(HOLE));
        let whole: Vec<_> = whole;
        Self { whole: whole.into_iter().collect(), holed }
    }

    fn say(&self, text: &str, depth: u32) -> Option<String> {
        if let Some(french) = self.whole.get(text) {
            return Some((*french).to_owned());
        }
        let depth = depth.checked_sub(1)?;
        let inner = |part: &str| self.say(part, depth).unwrap_or_else(|| part.to_owned());
        let split = |text: &str| text.split_once(": ").map(|(head, rest)| (head.to_owned(), rest.to_owned()));
        if let Some((head, rest)) = split(text)
            && let Some(french) = self.whole.get(head.as_str())
        {
            return Some(format!("{french} : {}", inner(&rest)));
        }
        for (english, french) in &self.holed {
            if let Some(holes) = holes(english, text) {
                let mut parts = french.split(HOLE);
                let mut said = parts.next().unwrap_or_default().to_owned();
                for (hole, part) in holes.into_iter().zip(parts) {
                    said.push_str(&inner(hole));
                    said.push_str(part);
                }
                return Some(said);
            }
        }
        if let Some((head, code)) = text.strip_suffix(')').and_then(|text| text.rsplit_once(" ("))
            && let Some(head) = self.say(head, depth)
        {
            return Some(format!("{head} ({code})"));
        }
        None
    }
}

/// Returns what stands in the holes of a phrase, if `text` is that phrase.
fn holes<'a>(phrase: &str, text: &'a str) -> Option<Vec<&'a str>> {
    let mut literals = phrase.split(HOLE);
    let mut rest = text.strip_prefix(literals.next()?)?;
    let mut holes = Vec::new();
    let mut literals = literals.peekable();
    while let Some(literal) = literals.next() {
        let (hole, after) = match literals.peek() {
            None => (rest.strip_suffix(literal)?, ""),
            Some(_) => rest.split_once(literal)?,
        };
        if hole.is_empty() {
            return None;
        }
        holes.push(hole);
        rest = after;
    }
    Some(holes)
}

/// Yields the phrases of the table, English and French.
fn phrases() -> impl Iterator<Item = (&'static str, &'static str)> {
    TABLE.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(" = "))
}

/// Says a reason of ours in French; one that is not ours as it stands.
pub(super) fn french(reason: &str) -> String {
    let said = reason.split("; ").map(|part| PHRASES.say(part, DEPTH_MAX));
    PHRASES.say(reason, DEPTH_MAX).unwrap_or_else(|| {
        let parts = said.zip(reason.split("; ")).map(|(said, part)| said.unwrap_or_else(|| part.to_owned()));
        parts.collect::<Vec<_>>().join(" ; ")
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::message::words::Words;
    use crate::notification::Language;

    #[test]
    fn every_phrase_of_the_table_is_said_in_both_languages() {
        let (english, french) = (Words::of(Language::En), Words::of(Language::Fr));
        let lines = TABLE.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(phrases().count(), lines, "each line is a phrase and its French");
        let mut seen = BTreeSet::new();
        for (phrase, text) in phrases() {
            assert!(seen.insert(phrase) && !text.trim().is_empty(), "{phrase} stands twice, or has no French");
            assert_eq!(phrase.matches(HOLE).count(), text.matches(HOLE).count(), "{phrase}");
            let filled = |text: &str| text.split(HOLE).collect::<Vec<_>>().join("17");
            assert_eq!(english.reason(&filled(phrase)), filled(phrase));
            assert_eq!(french.reason(&filled(phrase)), filled(text));
            let within = format!("TLS handshake failed: {}", filled(phrase));
            assert_eq!(english.reason(&within), within);
            assert!(!french.reason(&within).contains("handshake"), "{within}");
        }
        assert!(seen.len() > 200);
    }

    #[test]
    fn sentences_are_said_phrase_by_phrase_and_words_from_outside_stay() {
        for (reason, said) in [
            (
                "TLS handshake failed: the certificate has expired",
                "échec de la négociation TLS : le certificat a expiré",
            ),
            (
                "2 of 3 results say down: could not connect: connection refused",
                "2 résultats sur 3 disent en panne : connexion impossible : connexion refusée",
            ),
            ("it refuses the login (SQLSTATE 28000)", "il refuse l'authentification (SQLSTATE 28000)"),
            (
                "could not write: the access key may not do that (status 403, AccessDenied)",
                "impossible d'écrire : la clé d'accès n'en a pas le droit (status 403, AccessDenied)",
            ),
            (
                "status == 200 does not hold: status = 503; 2 more do not",
                "status == 200 n'est pas vrai : status = 503 ; 2 autres non plus",
            ),
            ("1 of 3 are up, it takes 2; not: a, b", "1 sur 3 en service, il en faut 2 ; sauf : a, b"),
            ("TLS handshake failed: words of theirs", "échec de la négociation TLS : words of theirs"),
            ("DISK CRITICAL - 3% free", "DISK CRITICAL - 3% free"),
            ("", ""),
        ] {
            assert_eq!(french(reason), said);
        }
    }
}
