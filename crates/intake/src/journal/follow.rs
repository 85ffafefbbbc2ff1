//! A journal of this machine, or a directory of journals, read through `journalctl`: only it reads all that their format
//! became over the years.
//!
//! It is begun at the cursor of the last entry that is done with, that entry included: were it gone meanwhile, systemd would
//! skip the one after it. What came already is passed over by its number.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use model::config::{FieldSpec, Spec, Ty};
use model::{SourceId, Tenant};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::export::{Entry, Reader};
use super::{Begun, Journals, STREAM_DEFAULT, Sender};

/// Where Debian and most others have it.
pub const PROGRAM_DEFAULT: &str = "/usr/bin/journalctl";
/// Bytes that are read at once: what a pipe holds.
const CHUNK_BYTES: usize = 64 << 10;
/// Bytes that are kept of what journalctl complains about.
const SAID_BYTES_MAX: usize = 512;
/// How long journalctl is left alone after it ended, at first and at most; and the ledger, after it took nothing.
const BEGIN_AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));
const GIVE_AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// The keys of `sources.journal`.
pub(crate) static SPEC: Spec = Spec {
    name: "sources.journal.*",
    doc: "A journal of systemd that is followed from its first entry on, through rotation and restarts.",
    fields: &[
        FieldSpec::optional("stream", Ty::Text, STREAM_DEFAULT, "The stream that its entries belong to."),
        FieldSpec::optional("tenant", Ty::Text, Tenant::DEFAULT, "Whose entries these are."),
        FieldSpec::optional(
            "directory",
            Ty::Path,
            "",
            "A directory of journal files, in place of this machine's journal.",
        ),
        FieldSpec::optional(
            "matches",
            Ty::OneOrMore(&Ty::Text),
            "",
            "Only entries with these: `FIELD=value`, as journalctl takes them; of one field any, of several each.",
        ),
        FieldSpec::optional("program", Ty::Path, PROGRAM_DEFAULT, "Where journalctl is."),
    ],
};

/// A journal that is followed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JournalConfig {
    /// The stream of its entries.
    #[serde(default = "stream_default")]
    pub stream: String,
    /// Whose entries these are.
    #[serde(default)]
    pub tenant: Tenant,
    /// A directory in place of this machine's journal.
    pub directory: Option<PathBuf>,
    /// Only entries with these.
    #[serde(default, deserialize_with = "model::config::de::one_or_more")]
    pub matches: Vec<String>,
    /// Where journalctl is.
    #[serde(default = "program_default")]
    pub program: PathBuf,
}

fn stream_default() -> String {
    STREAM_DEFAULT.to_owned()
}

fn program_default() -> PathBuf {
    PathBuf::from(PROGRAM_DEFAULT)
}

/// Tells whether journalctl would take a text for a match, and for nothing else.
pub(crate) fn is_match(text: &str) -> bool {
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    };
    text.split_once('=').is_some_and(|(name, _)| is_name(name))
}

impl JournalConfig {
    /// Returns a name for what is read, by which its cursor is kept. Of matches, which may name persons, it says nothing.
    pub(crate) fn place(&self) -> String {
        let mut hash = Sha256::new().chain_update(self.tenant.as_str()).chain_update([0]).chain_update(&self.stream);
        hash.update([0]);
        hash.update(self.directory.as_ref().map_or(&[][..], |directory| directory.as_os_str().as_encoded_bytes()));
        for text in &self.matches {
            hash.update([0]);
            hash.update(text);
        }
        hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }

    fn command(&self, cursor: Option<&str>) -> Command {
        let mut command = Command::new(&self.program);
        // Merged, since following shows the last boot alone otherwise.
        command.args(["--output=export", "--follow", "--no-tail", "--merge", "--no-pager", "--all"]);
        if let Some(directory) = &self.directory {
            command.arg("--directory").arg(directory);
        }
        if let Some(cursor) = cursor {
            command.arg(format!("--cursor={cursor}"));
        }
        command.arg("--").args(&self.matches);
        command.env_clear().env("LANG", "C.UTF-8").env("LC_ALL", "C.UTF-8");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }
}

/// Follows journals until `halted` says so.
pub async fn follow(config: Vec<JournalConfig>, journals: Arc<Journals>, halted: watch::Receiver<bool>) {
    let mut tasks = JoinSet::new();
    for (number, config) in config.into_iter().enumerate() {
        let (journals, halted) = (Arc::clone(&journals), halted.clone());
        tasks.spawn(async move { Followed::new(number, config, journals).run(halted).await });
    }
    while tasks.join_next().await.is_some() {}
}

/// One of them.
struct Followed {
    number: usize,
    config: JournalConfig,
    place: String,
    sender: Sender,
    journals: Arc<Journals>,
}

/// Why a run of journalctl is over.
enum Over {
    /// This program ends.
    Halted,
    /// It ended, or what it gave is no journal.
    Because(String),
}

impl Followed {
    fn new(number: usize, config: JournalConfig, journals: Arc<Journals>) -> Self {
        let sender = Sender { tenant: config.tenant.clone(), source: SourceId::JOURNAL, stream: config.stream.clone() };
        Self { number, place: config.place(), config, sender, journals }
    }

    async fn run(self, mut halted: watch::Receiver<bool>) {
        let (mut wait, wait_max) = BEGIN_AGAIN;
        while !*halted.borrow() {
            let mut has_come = false;
            let over = self.once(&mut has_come, &mut halted).await;
            let Over::Because(why) = over else { return };
            self.ails(Some(&why));
            if has_come {
                wait = BEGIN_AGAIN.0;
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => wait = (wait * 2).min(wait_max),
                _ = halted.changed() => {}
            }
        }
    }

    /// Says what ails this one, or that nothing does.
    fn ails(&self, why: Option<&str>) {
        let Some(means) = &self.journals.means else { return };
        let of = self.config.directory.as_ref().map_or("this machine".into(), |directory| directory.to_string_lossy());
        let name = format!("journal {}: cannot follow {of}", self.number);
        means.ailments.tell(&name, why);
    }

    /// Reads from the cursor on until journalctl ends.
    async fn once(&self, has_come: &mut bool, halted: &mut watch::Receiver<bool>) -> Over {
        if let Some(means) = &self.journals.means
            && let Err(refusal) = self.journals.memory.load(means).await
        {
            return Over::Because(refusal.to_string());
        }
        let cursor = self.journals.memory.cursor(&self.place);
        let mut child = match self.config.command(cursor.as_deref()).spawn() {
            Ok(child) => child,
            Err(error) => {
                return Over::Because(format!("cannot run {}: {}", self.config.program.display(), error.kind()));
            }
        };
        let (Some(mut out), err) = (child.stdout.take(), child.stderr.take()) else {
            return Over::Because("journalctl has no output".to_owned());
        };
        let mut said = JoinSet::new();
        said.spawn(listen(err));
        let (mut reader, mut begun, mut entries) = (Reader::default(), Begun::default(), Vec::new());
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let read = tokio::select! {
                read = out.read(&mut chunk) => read,
                _ = halted.changed() => return Over::Halted,
            };
            let Ok(count @ 1..) = read else { break };
            if !*has_come {
                *has_come = true;
                self.ails(None);
            }
            let taken = reader.take(chunk.get(..count).unwrap_or_default(), &mut entries);
            if !self.deliver(std::mem::take(&mut entries), &mut begun, halted).await {
                return Over::Halted;
            }
            if let Err(broken) = taken {
                return Over::Because(broken.to_string());
            }
        }
        Over::Because(ended(child, said).await)
    }

    /// Holds entries until the ledger has them; false when that is given up, and they are read again at the next start.
    async fn deliver(&self, entries: Vec<Entry>, begun: &mut Begun, halted: &mut watch::Receiver<bool>) -> bool {
        let mut rest = entries.as_slice();
        let (mut wait, wait_max) = GIVE_AGAIN;
        while !rest.is_empty() {
            let taken = self.journals.admit(&self.sender, begun, rest).await;
            let (settled, left) = rest.split_at_checked(taken.settled).unwrap_or((rest, &[]));
            let cursor = settled.iter().rev().find_map(|entry| entry.first("__CURSOR"));
            if let Some(cursor) = cursor.and_then(|cursor| std::str::from_utf8(cursor).ok()) {
                self.journals.memory.move_to(&self.place, cursor.to_owned());
                wait = GIVE_AGAIN.0;
            }
            rest = left;
            if taken.later.is_none() {
                return true;
            }
            if *halted.borrow() {
                return false;
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => wait = (wait * 2).min(wait_max),
                _ = halted.changed() => {}
            }
        }
        true
    }
}

/// Takes what journalctl complains about off it, and keeps the first of it.
async fn listen(pipe: Option<ChildStderr>) -> Vec<u8> {
    let (mut said, mut chunk) = (Vec::new(), [0; 1_024]);
    let Some(mut pipe) = pipe else { return said };
    while let Ok(count @ 1..) = pipe.read(&mut chunk).await {
        let room = SAID_BYTES_MAX.saturating_sub(said.len());
        said.extend_from_slice(chunk.get(..count.min(room)).unwrap_or_default());
    }
    said
}

/// Says how journalctl ended, in its own words where it has some.
async fn ended(mut child: Child, mut said: JoinSet<Vec<u8>>) -> String {
    // It closed its output, so that nothing more can come of it.
    let _ = child.start_kill();
    let status = child.wait().await;
    let said = said.join_next().await.and_then(Result::ok).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    let first = said.lines().map(str::trim).find(|line| !line.is_empty());
    match (first, status) {
        (Some(first), _) => format!("journalctl says: {first}"),
        (None, Ok(status)) => format!("journalctl ended with {status}"),
        (None, Err(error)) => format!("journalctl's end was not seen: {}", error.kind()),
    }
}
