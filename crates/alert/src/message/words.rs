//! `Words`: one language's texts, read from `locales/` at compile time.

use std::sync::LazyLock;
use std::time::Duration;

use fluent_bundle::concurrent::FluentBundle;
use fluent_bundle::{FluentArgs, FluentResource, FluentValue};
use unic_langid::LanguageIdentifier;

use crate::notification::Language;

const EN: &str = include_str!("../../locales/en/message.ftl");
const FR: &str = include_str!("../../locales/fr/message.ftl");

static ENGLISH: LazyLock<Words> = LazyLock::new(|| Words::read("en", EN));
static FRENCH: LazyLock<Words> = LazyLock::new(|| Words::read("fr", FR));

/// The texts of one language.
pub(crate) struct Words(FluentBundle<FluentResource>);

impl Words {
    /// Returns the texts of `language`.
    pub(crate) fn of(language: Language) -> &'static Self {
        match language {
            Language::En => &ENGLISH,
            Language::Fr => &FRENCH,
        }
    }

    fn read(language: &str, source: &str) -> Self {
        let language: LanguageIdentifier = language.parse().expect("invariant: `en` and `fr` are language tags");
        let mut bundle = FluentBundle::new_concurrent(vec![language]);
        // Marks around inserted values would travel into subjects and logs.
        bundle.set_use_isolating(false);
        let resource = match FluentResource::try_new(source.to_owned()) {
            Ok(resource) | Err((resource, _)) => resource,
        };
        bundle.add_resource_overriding(resource);
        Self(bundle)
    }

    /// Returns the text `key` with `args` filled in; the key itself where the language lacks it, which a test excludes.
    pub(crate) fn say<'a>(&self, key: &str, args: &[(&'static str, FluentValue<'a>)]) -> String {
        let Some(pattern) = self.0.get_message(key).and_then(|message| message.value()) else { return key.to_owned() };
        let mut filled = FluentArgs::new();
        for (name, value) in args {
            filled.set(*name, value.clone());
        }
        self.0.format_pattern(pattern, Some(&filled), &mut Vec::new()).into_owned()
    }

    /// Returns a text without arguments.
    pub(crate) fn word(&self, key: &str) -> String {
        self.say(key, &[])
    }

    /// Says a reason of ours in the language; what is not ours stays as it is.
    pub(crate) fn reason(&self, reason: &str) -> String {
        if std::ptr::eq(self, &raw const *FRENCH) { super::reasons::french(reason) } else { reason.to_owned() }
    }

    /// Returns a duration in words, its two largest units at most.
    pub(crate) fn duration(&self, duration: Duration) -> String {
        let seconds = duration.as_secs();
        let units = [
            ("duration-days", seconds / 86_400),
            ("duration-hours", seconds / 3_600 % 24),
            ("duration-minutes", seconds / 60 % 60),
            ("duration-seconds", seconds % 60),
        ];
        let first = units.iter().position(|(_, count)| *count > 0).unwrap_or(units.len() - 1);
        let word = |index: usize| units.get(index).map(|(key, count)| self.say(key, &[("count", (*count).into())]));
        let long = word(first).unwrap_or_default();
        match units.get(first + 1) {
            Some((_, count)) if *count > 0 => {
                let short = word(first + 1).unwrap_or_default();
                self.say("duration-both", &[("long", long.into()), ("short", short.into())])
            }
            _ => long,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    /// Keys and the arguments each uses.
    fn keys(source: &str) -> BTreeMap<String, BTreeSet<String>> {
        let mut keys: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut current = String::new();
        for line in source.lines().filter(|line| !line.starts_with('#')) {
            if let Some((key, _)) = line.split_once(" = ").filter(|_| !line.starts_with(' ')) {
                key.clone_into(&mut current);
                keys.entry(current.clone()).or_default();
            }
            for part in line.split('$').skip(1) {
                let name: String = part.chars().take_while(|c| c.is_ascii_alphanumeric()).collect();
                keys.entry(current.clone()).or_default().insert(name);
            }
        }
        keys
    }

    #[test]
    fn both_languages_say_the_same_things_and_each_can_be_said() {
        let (english, french) = (keys(EN), keys(FR));
        assert_eq!(english, french);
        assert!(english.len() > 50);
        for source in [EN, FR] {
            assert!(FluentResource::try_new(source.to_owned()).is_ok(), "the file parses");
        }
        for language in [Language::En, Language::Fr] {
            let words = Words::of(language);
            for (key, args) in &english {
                let message = words.0.get_message(key).expect("is there");
                let mut filled = FluentArgs::new();
                for arg in args {
                    filled.set(arg.as_str(), FluentValue::from(2));
                }
                let mut errors = Vec::new();
                let text = words.0.format_pattern(message.value().expect("has a text"), Some(&filled), &mut errors);
                assert!(errors.is_empty() && !text.is_empty() && !text.contains('{'), "{language:?} {key}: {errors:?}");
            }
        }
        assert_eq!(ENGLISH.word("no-such-key"), "no-such-key");
    }

    #[test]
    fn durations_are_said_in_two_units_at_most() {
        for (seconds, english, french) in [
            (0, "0 seconds", "0 seconde"),
            (1, "1 second", "1 seconde"),
            (61, "1 minute 1 second", "1 minute 1 seconde"),
            (3_600, "1 hour", "1 heure"),
            (11_100, "3 hours 5 minutes", "3 heures 5 minutes"),
            (90_061, "1 day 1 hour", "1 jour 1 heure"),
            (172_800, "2 days", "2 jours"),
        ] {
            let duration = Duration::from_secs(seconds);
            assert_eq!(ENGLISH.duration(duration), english);
            assert_eq!(FRENCH.duration(duration), french);
        }
    }
}
