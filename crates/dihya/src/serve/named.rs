//! Questions about persons: what is asked by an identifier is asked by the names under which events have that person. Of every
//! question its shape is recorded in clear, with those names and with words that are nobody's, and no other word; what was
//! typed is for privacy to seal.

use lake::Sql;
use lake::sql::TEXT;
use lake::syntax::{Pattern, Search, Test, parse};
use model::{Private, Question};
use privacy::{Named, find_pseudonym};

use super::vocabulary::Vocabulary;

/// What is recorded in the place of an identifier of nobody who is known.
pub(super) const NOBODY: &str = "[identifier]";
/// What is recorded in the place of a field's name that somebody thought of.
const FIELD: &str = "[field]";

/// What is recorded of a question.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Recordable {
    /// Its shape: nothing that could be somebody's stands in it.
    pub(super) shape: String,
    /// What was typed, where the shape does not say all of it: to be sealed.
    pub(super) question: Option<Question>,
}

impl Recordable {
    fn new(typed: &str, shape: String, identifiers: Vec<(String, Private<String>)>) -> Self {
        let question = Question { text: Private::new(typed.to_owned()), identifiers };
        Self { question: (!question.identifiers.is_empty()).then_some(question), shape }
    }

    /// Returns what is recorded of what cannot be read.
    fn unread(typed: &str) -> Self {
        let identifiers = vec![(String::new(), Private::new(typed.to_owned()))];
        Self::new(typed, TEXT.to_owned(), identifiers)
    }
}

/// Returns a search by the names of the persons in it; `named` tells what a value stands for in a field. What cannot be read is
/// left to who says so.
pub(super) fn translate(text: &str, named: impl Fn(&str, &str) -> Named) -> String {
    let Ok(search) = parse(text) else { return text.to_owned() };
    let mut names_somebody = false;
    let asked = walk(&search, &mut |part| {
        let Part::Field(field) = part else { return None };
        let named = identifier(field, &named)?;
        names_somebody = true;
        // Other streams may keep it as it is.
        let names = named.names.iter().map(|name| field.is(name));
        Some(Search::Or([field.search()].into_iter().chain(names).collect()))
    });
    if names_somebody { asked.to_string() } else { text.to_owned() }
}

/// Returns what is recorded of a search.
pub(super) fn recorded(text: &str, named: impl Fn(&str, &str) -> Named, words: &Vocabulary<'_>) -> Recordable {
    let Ok(search) = parse(text) else { return Recordable::unread(text) };
    let mut identifiers = Vec::new();
    let mut left_out = |field: &str, value: &str| identifiers.push((field.to_owned(), Private::new(value.to_owned())));
    let shape = walk(&search, &mut |part| match part {
        Part::Text(pattern) if words.has(None, pattern) => None,
        Part::Text(pattern) => {
            left_out("", &written(pattern));
            Some(Search::Text(TEXT.to_owned()))
        }
        Part::Field(field) => match identifier(field, &named) {
            Some(named) => {
                left_out(lake::attribute_of(field.name), field.exact());
                let mut names: Vec<Search> = named.names.iter().map(|name| field.is(name)).collect();
                Some(match names.len() {
                    0 => field.is(NOBODY),
                    1 => names.remove(0),
                    _ => Search::Or(names),
                })
            }
            None => field.shape(words, &mut left_out),
        },
    });
    let shape = if identifiers.is_empty() { text.to_owned() } else { shape.to_string() };
    Recordable::new(text, shape, identifiers)
}

/// Returns a question in SQL by the names of the persons in it.
pub(super) fn translate_sql(sql: Sql, named: impl Fn(&str, &str) -> Named) -> Sql {
    sql.with_equals(|field, text| {
        let named = identifier_of(field, text, &named)?;
        Some([text.to_owned()].into_iter().chain(named.names).collect())
    })
}

/// Returns what is recorded of a question in SQL.
pub(super) fn recorded_sql(text: &str, named: impl Fn(&str, &str) -> Named, words: &Vocabulary<'_>) -> Recordable {
    let Ok(sql) = Sql::read(text) else { return Recordable::unread(text) };
    let mut identifiers = Vec::new();
    let sql = sql.with_equals(|field, text| {
        let named = identifier_of(field, text, &named)?;
        identifiers.push((field.to_owned(), Private::new(text.to_owned())));
        Some(if named.names.is_empty() { vec![NOBODY.to_owned()] } else { named.names })
    });
    let written = sql.shape(|_, _| true);
    let shape = sql.shape(|column, text| words.has(column, text));
    if shape != written {
        // Which of its words were left out does not matter: each may be somebody's.
        identifiers.extend(sql.texts().into_iter().map(|text| (String::new(), Private::new(text))));
        identifiers.push((String::new(), Private::new(String::new())));
    }
    Recordable::new(text, shape, identifiers)
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

    /// Returns the value that is asked for, if it is one.
    fn exact(&self) -> &str {
        match self.test {
            Test::Is(pattern) => pattern.as_exact().unwrap_or_default(),
            Test::Exists | Test::Compare(..) => "",
        }
    }

    /// Returns what is recorded of a field that holds no identifier, if that is less than what was typed.
    fn shape(&self, words: &Vocabulary<'_>, left_out: &mut impl FnMut(&str, &str)) -> Option<Search> {
        let value = match self.test {
            Test::Exists => None,
            Test::Is(pattern) => Some(pattern.clone()),
            Test::Compare(_, value) => Some(Pattern::exact(value)),
        };
        let hidden = value.filter(|value| !words.has(Some(self.name), value));
        let named = words.has_field(self.name);
        if named && hidden.is_none() {
            return None;
        }
        if !named {
            left_out("", self.name);
        }
        let test = match (&hidden, self.test) {
            (None, test) => test.clone(),
            (Some(_), Test::Compare(order, _)) => Test::Compare(*order, TEXT.to_owned()),
            (Some(_), _) => Test::Is(Pattern::exact(TEXT)),
        };
        if let Some(value) = hidden {
            left_out("", &written(&value));
        }
        let name = if named { self.name } else { FIELD };
        Some(Search::Field { name: name.to_owned(), test, column: self.column })
    }
}

/// Returns what the value of a field stands for, if it is an identifier.
fn identifier(field: &Field<'_>, named: impl Fn(&str, &str) -> Named) -> Option<Named> {
    if matches!(field.test, Test::Exists) {
        return None;
    }
    identifier_of(lake::attribute_of(field.name), field.exact(), named)
}

fn identifier_of(field: &str, value: &str, named: impl Fn(&str, &str) -> Named) -> Option<Named> {
    // A name under which events have somebody is no secret of the question.
    if find_pseudonym(value).is_some_and(|(before, _, after)| before.is_empty() && after.is_empty()) {
        return None;
    }
    let mut found = named(field, value);
    if value.is_empty() {
        // A part of an identifier is no identifier, and tells as much.
        found.names.clear();
    }
    found.is_identifier.then_some(found)
}

/// What a search is made of.
enum Part<'a> {
    Field(&'a Field<'a>),
    Text(&'a Pattern),
}

/// Copies a search, with what `other` gives in the place of its parts.
fn walk(search: &Search, other: &mut impl FnMut(Part<'_>) -> Option<Search>) -> Search {
    match search {
        Search::And(parts) => Search::And(parts.iter().map(|part| walk(part, other)).collect()),
        Search::Or(parts) => Search::Or(parts.iter().map(|part| walk(part, other)).collect()),
        Search::Not(inner) => Search::Not(Box::new(walk(inner, other))),
        Search::Word(pattern) => other(Part::Text(pattern)).unwrap_or_else(|| search.clone()),
        Search::Text(text) => other(Part::Text(&Pattern::exact(text))).unwrap_or_else(|| search.clone()),
        Search::Field { name, test, column } => {
            let field = Field { name, test, column: *column };
            other(Part::Field(&field)).unwrap_or_else(|| search.clone())
        }
    }
}

/// Returns the texts of a pattern in one, as far as they can be somebody's.
fn written(pattern: &Pattern) -> String {
    let texts = pattern.0.iter().map(|part| match part {
        lake::syntax::Part::Text(text) => text.as_str(),
        lake::syntax::Part::Any => "",
    });
    texts.collect()
}

#[cfg(test)]
mod tests {
    use model::Tenant;
    use privacy::Redactor;

    use super::super::vocabulary::Seen;
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

    fn both(text: &str, recorded: impl Fn(&str, fn(&str, &str) -> Named, &Vocabulary<'_>) -> Recordable) -> Recordable {
        let (redactor, seen, tenant) = (Redactor::new(), Seen::default(), Tenant::default());
        seen.extend(&tenant, ["auth", "web-1"].into_iter());
        recorded(text, named, &Vocabulary::new(&redactor, &seen, &tenant))
    }

    fn search(text: &str) -> Recordable {
        both(text, recorded)
    }

    fn sql(text: &str) -> Recordable {
        both(text, recorded_sql)
    }

    /// Returns the fields and values of a question.
    fn identifiers(recorded: &Recordable) -> Vec<(&str, &str)> {
        let question = recorded.question.as_ref().expect("is there");
        question.identifiers.iter().map(|(field, value)| (field.as_str(), value.expose().as_str())).collect()
    }

    #[test]
    fn identifiers_are_asked_by_their_names_and_recorded_by_those_alone() {
        for (text, recorded, names) in [
            ("service:auth user.id:solo", format!("(service:\"auth\" user.id:\"{ONE}\")"), 1),
            ("user_id:jdupont42", format!("(user_id:\"{ONE}\" OR user_id:\"{TWO}\")"), 2),
            ("-user.id:nobody7 x", "(-user.id:\"[identifier]\" \"[text]\")".to_owned(), 0),
            ("user.id:jdup*", "user.id:\"[identifier]\"".to_owned(), 0),
            ("user.id>jdup", "user.id:\"[identifier]\"".to_owned(), 0),
        ] {
            let (asked, shape) = (translate(text, named), search(text));
            assert_eq!(parse(&shape.shape), parse(&recorded), "{text}: {shape:?}");
            assert_eq!(shape.question.as_ref().map(|question| question.text.expose().as_str()), Some(text));
            let found = [ONE, TWO].iter().filter(|name| asked.contains(**name)).count();
            assert_eq!(found, names, "{text}: {asked}");
            assert!(parse(&asked).is_ok());
        }
    }

    #[test]
    fn what_is_nobodys_stays_as_it_was_typed() {
        for text in [
            "service:auth  -stream:web* severity>=error",
            "",
            "user.id:*",
            "http.response.status_code:5* OR http.response.status_code>=500",
            "ts>=2026-11-28T10:00:00Z",
            &format!("user.id:{ONE}"),
        ] {
            assert_eq!(translate(text, named), text);
            let same = Recordable { shape: text.to_owned(), question: None };
            assert_eq!(search(text), same);
        }
        assert_eq!(translate("(unclosed", named), "(unclosed");
    }

    #[test]
    fn a_word_that_may_be_a_name_is_recorded_as_a_text_and_left_to_be_sealed() {
        for (text, shape, left_out) in [
            ("Dupont", "\"[text]\"", &[("", "Dupont")][..]),
            ("auth -Du*nt", "(auth -\"[text]\")", &[("", "Dunt")]),
            ("(unclosed Dupont", "[text]", &[("", "(unclosed Dupont")]),
            ("jean.dupont:*", "[field]:*", &[("", "jean.dupont")]),
            ("jean.dupont>5", "[field]>\"5\"", &[("", "jean.dupont")]),
            (
                "service:Dupont OR client.address>\"a b\"",
                "(service:\"[text]\" OR client.address>\"[text]\")",
                &[("", "Dupont"), ("", "a b")],
            ),
        ] {
            let recorded = search(text);
            let typed = recorded.question.as_ref().expect("is to be sealed");
            assert_eq!((recorded.shape.replace('\\', "").as_str(), typed.text.expose().as_str()), (shape, text));
            assert_eq!(identifiers(&recorded), left_out);
        }
    }

    #[test]
    fn sql_is_asked_by_the_names_of_persons_and_recorded_without_its_texts() {
        let asked = |text: &str| translate_sql(Sql::read(text).expect("reads"), named).shape(|_, _| true);
        let (by_id, by_text) =
            ("SELECT 1 FROM events WHERE user_id = 'solo'", "SELECT 1 FROM events WHERE body = 'Dupont'");
        assert_eq!(asked(by_id), format!("SELECT 1 FROM events WHERE user_id IN ('solo', '{ONE}')"));
        assert_eq!(asked(by_text), by_text);
        let recorded = sql(by_id);
        assert_eq!(recorded.shape, format!("SELECT 1 FROM events WHERE user_id IN ('{ONE}')"));
        assert_eq!(identifiers(&recorded), [("user.id", "solo")]);
        let recorded = sql(by_text);
        assert_eq!(recorded.shape, "SELECT 1 FROM events WHERE body = '[text]'");
        assert_eq!(recorded.question.as_ref().map(|question| question.text.expose().as_str()), Some(by_text));
        assert_eq!(identifiers(&recorded), [("", "Dupont"), ("", "")]);
        assert!(sql("SELECT service FROM events WHERE service = 'auth' AND user_id = 'nobody'").shape.contains(NOBODY));
        let plain = "SELECT service, count(*) AS n FROM events WHERE service = 'auth' GROUP BY service";
        assert_eq!(sql(plain), Recordable { shape: plain.to_owned(), question: None });
        assert_eq!(sql("SELEC 'Dupont'").shape, TEXT);
    }
}
