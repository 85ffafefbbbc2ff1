//! `sources:` of `dihya.yaml`: where Dihya itself fetches events.

use model::config::{FieldSpec, Spec, Ty};
use serde::Deserialize;

use crate::files::{self, FilesConfig};
use crate::journal::follow::{self, JournalConfig};

/// The keys of `sources`.
pub static SPEC: Spec = Spec {
    name: "sources",
    doc: "Where Dihya itself fetches events; a change needs a restart.",
    fields: &[
        FieldSpec::optional("files", Ty::List(&Ty::Object(&files::SPEC)), "", "Files of logs that are followed."),
        FieldSpec::optional(
            "journal",
            Ty::List(&Ty::Object(&follow::SPEC)),
            "",
            "Journals of systemd that are followed.",
        ),
    ],
};

/// The `sources` part of `dihya.yaml`, as read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Files that are followed.
    pub files: Vec<FilesConfig>,
    /// Journals that are followed.
    pub journal: Vec<JournalConfig>,
}

impl Config {
    /// Holds fields against each other: `(dotted path below sources, what is wrong, what to write instead)` for each problem.
    #[must_use]
    pub fn check(&self) -> Vec<(String, String, Option<String>)> {
        let mut problems = Vec::new();
        for (at, files) in self.files.iter().enumerate() {
            if let Some((why, hint)) = crate::elastic::not_a_stream(&files.stream) {
                problems.push((format!("files.{at}.stream"), why.to_owned(), Some(hint.to_owned())));
            }
            if let Err(why) = files.check() {
                problems.push((format!("files.{at}.multiline"), why.to_owned(), None));
            }
        }
        for (at, journal) in self.journal.iter().enumerate() {
            if let Some((why, hint)) = crate::elastic::not_a_stream(&journal.stream) {
                problems.push((format!("journal.{at}.stream"), why.to_owned(), Some(hint.to_owned())));
            }
            if let Some(number) = journal.matches.iter().position(|text| !follow::is_match(text)) {
                let hint = Some("write _SYSTEMD_UNIT=nginx.service".to_owned());
                problems.push((format!("journal.{at}.matches.{number}"), "expected FIELD=value".to_owned(), hint));
            }
            // Two that read the same would each write down how far the other is.
            if self.journal.iter().take(at).any(|other| other.place() == journal.place()) {
                problems.push((format!("journal.{at}"), "the same is followed already".to_owned(), None));
            }
        }
        problems
    }

    /// Returns each tenant that is named, with where.
    pub fn tenants(&self) -> impl Iterator<Item = (String, &model::Tenant)> {
        let files = self.files.iter().enumerate().map(|(at, of)| (format!("files.{at}.tenant"), &of.tenant));
        let journals = self.journal.iter().enumerate().map(|(at, of)| (format!("journal.{at}.tenant"), &of.tenant));
        files.chain(journals)
    }
}
