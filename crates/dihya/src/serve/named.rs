//! Questions about persons: what is asked by an identifier is asked by the names under which events have that person, and
//! recorded by those names alone.

use lake::syntax::{Part, Pattern, Search, Test, parse};
use model::{Private, Question};
use privacy::{Named, find_pseudonym};

/// What is recorded in the place of an identifier of nobody who is known.
const NOBODY: &str = "[identifier]";

/// A search in the names of events.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Translated {
    /// What is asked of the lake.
    pub(super) asked: String,
    /// What is recorded of it: no identifier stands in it.
    pub(super) recorded: String,
    /// What was typed, where it names persons: to be sealed under their keys. Whatever else in it is personal is replaced, or
    /// the keys of those whom it names would keep it.
    pub(super) question: Option<Question>,
}

/// Translates a search; `named` tells what a value stands for in a field, `redact` clears a text. What cannot be read is left
/// to who says so.
pub(super) fn translate(
    text: &str,
    named: impl Fn(&str, &str) -> Named,
    redact: impl Fn(&str) -> String,
) -> Translated {
    let same = || Translated { asked: text.to_owned(), recorded: text.to_owned(), question: None };
    let Ok(search) = parse(text) else { return same() };
    let mut names_somebody = false;
    let asked = walk(&search, &mut |field| {
        let named = identifier(field, &named)?;
        names_somebody = true;
        // Other streams may keep it as it is.
        let names = named.names.iter().map(|name| field.is(name));
        Some(Search::Or([field.search()].into_iter().chain(names).collect()))
    });
    if !names_somebody {
        return same();
    }
    let recorded = walk(&search, &mut |field| {
        let named = identifier(field, &named)?;
        let mut names: Vec<Search> = named.names.iter().map(|name| field.is(name)).collect();
        Some(match names.len() {
            0 => field.is(NOBODY),
            1 => names.remove(0),
            _ => Search::Or(names),
        })
    });
    let question = question(&search, &named, &redact);
    Translated { asked: asked.to_string(), recorded: recorded.to_string(), question: Some(question) }
}

/// Returns what was typed, and the identifiers in it: those of which a part was asked are nobody's.
fn question(search: &Search, named: &impl Fn(&str, &str) -> Named, redact: &impl Fn(&str) -> String) -> Question {
    let mut identifiers = Vec::new();
    let typed = walk_all(
        search,
        &mut |field| {
            let value = match field.test {
                Test::Is(pattern) => pattern.as_exact().unwrap_or_default(),
                Test::Exists | Test::Compare(..) => "",
            };
            if identifier(field, named).is_some() {
                identifiers.push((lake::attribute_of(field.name).to_owned(), Private::new(value.to_owned())));
                return None;
            }
            match field.test {
                Test::Is(pattern) => Some(Search::Field {
                    name: field.name.to_owned(),
                    test: Test::Is(cleared(pattern, redact)),
                    column: field.column,
                }),
                Test::Exists | Test::Compare(..) => None,
            }
        },
        redact,
    );
    Question { text: Private::new(typed.to_string()), identifiers }
}

fn cleared(pattern: &Pattern, redact: &impl Fn(&str) -> String) -> Pattern {
    let parts = pattern.0.iter().map(|part| match part {
        Part::Text(text) => Part::Text(redact(text)),
        Part::Any => Part::Any,
    });
    Pattern(parts.collect())
}

/// A field that is asked for.
struct Field<'a> {
    name: &'a str,
    test: &'a Test,
    column: usize,
}

impl Field<'_> {
    fn search(&self) -> Search {
        Search::Field { name: self.name.to_owned(), test: self.test.clone(), column: self.column }
    }

    fn is(&self, value: &str) -> Search {
        let test = Test::Is(Pattern::exact(value));
        Search::Field { name: self.name.to_owned(), test, column: self.column }
    }
}

/// Returns what the value of a field stands for, if it is an identifier.
fn identifier(field: &Field<'_>, named: impl Fn(&str, &str) -> Named) -> Option<Named> {
    let value = match field.test {
        Test::Exists => return None,
        Test::Is(pattern) => pattern.as_exact().unwrap_or_default(),
        Test::Compare(..) => "",
    };
    // A name under which events have somebody is no secret of the search.
    if find_pseudonym(value).is_some_and(|(before, _, after)| before.is_empty() && after.is_empty()) {
        return None;
    }
    let mut found = named(lake::attribute_of(field.name), value);
    if value.is_empty() {
        // A part of an identifier is no identifier, and tells as much.
        found.names.clear();
    }
    found.is_identifier.then_some(found)
}

/// Copies a search, with what `other` gives in the place of fields.
fn walk(search: &Search, other: &mut impl FnMut(&Field<'_>) -> Option<Search>) -> Search {
    walk_all(search, other, &str::to_owned)
}

/// Copies a search, with what `other` gives in the place of fields and `of_text` in the place of texts.
fn walk_all(
    search: &Search,
    other: &mut impl FnMut(&Field<'_>) -> Option<Search>,
    of_text: &impl Fn(&str) -> String,
) -> Search {
    match search {
        Search::And(parts) => Search::And(parts.iter().map(|part| walk_all(part, other, of_text)).collect()),
        Search::Or(parts) => Search::Or(parts.iter().map(|part| walk_all(part, other, of_text)).collect()),
        Search::Not(inner) => Search::Not(Box::new(walk_all(inner, other, of_text))),
        Search::Word(pattern) => Search::Word(cleared(pattern, of_text)),
        Search::Text(text) => Search::Text(of_text(text)),
        Search::Field { name, test, column } => {
            other(&Field { name, test, column: *column }).unwrap_or_else(|| search.clone())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "Pabcdefghijklmnopqrstuvwxyz";
    const TWO: &str = "Pzyxwvutsrqponmlkjihgfedcba";

    fn named(field: &str, value: &str) -> Named {
        let names: &[&str] = match (field, value) {
            ("user.id", "jdupont42") => &[ONE, TWO],
            ("user.id", "solo") => &[ONE],
            _ => &[],
        };
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Named { is_identifier: field == "user.id", names }
    }

    #[test]
    fn identifiers_are_asked_by_their_names_and_recorded_by_those_alone() {
        for (text, recorded, names) in [
            ("service:auth user.id:solo", format!("(service:\"auth\" user.id:\"{ONE}\")"), 1),
            ("user_id:jdupont42", format!("(user_id:\"{ONE}\" OR user_id:\"{TWO}\")"), 2),
            ("-user.id:nobody7 x", "(-user.id:\"[identifier]\" x)".to_owned(), 0),
            ("user.id:jdup*", "user.id:\"[identifier]\"".to_owned(), 0),
            ("user.id>jdup", "user.id:\"[identifier]\"".to_owned(), 0),
        ] {
            let translated = translate(text, named, str::to_owned);
            assert_eq!(parse(&translated.recorded), parse(&recorded), "{text}: {translated:?}");
            let found = [ONE, TWO].iter().filter(|name| translated.asked.contains(**name)).count();
            assert_eq!(found, names, "{text}: {translated:?}");
            assert!(!translated.recorded.contains("jdup") && !translated.recorded.contains("nobody7"));
            assert!(parse(&translated.asked).is_ok());
        }
    }

    #[test]
    fn what_names_nobody_stays_as_it_was_typed() {
        for text in ["service:auth  \"time out\"", "", "(unclosed", "user.id:*", &format!("user.id:{ONE}")] {
            let same = Translated { asked: text.to_owned(), recorded: text.to_owned(), question: None };
            assert_eq!(translate(text, named, str::to_owned), same);
        }
    }

    #[test]
    fn what_was_typed_goes_to_be_sealed_without_what_is_of_others() {
        let redact = |text: &str| text.replace("bob@example.org", "[email]");
        let typed = "user.id:solo -user_id:jdup* \"mail to bob@example.org\" service:bob@example.org";
        let question = translate(typed, named, redact).question.expect("names somebody");
        let text = question.text.expose();
        assert!(text.contains("solo") && text.contains("jdup") && !text.contains("bob@"), "{text}");
        assert_eq!(text.matches("[email]").count(), 2, "{text}");
        assert!(parse(text).is_ok());
        let identifiers: Vec<_> =
            question.identifiers.iter().map(|(field, value)| (field.as_str(), value.expose().as_str())).collect();
        // A part of one is nobody's, so the whole is not kept.
        assert_eq!(identifiers, [("user.id", "solo"), ("user.id", "")]);
    }
}
