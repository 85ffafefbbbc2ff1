//! The command line: what may be said to `dihya`, with an example for each command.

#![allow(
    rustdoc::broken_intra_doc_links,
    reason = "the comments are the help texts, which write defaults in brackets as clap does"
)]

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use model::{Sector, Severity};

/// Sovereign monitoring: watches services, tells people durably, proves what it recorded.
#[derive(Debug, Parser)]
#[command(name = "dihya", version, propagate_version = true, arg_required_else_help = true, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 done, 1 it failed or found something, 2 bad usage or configuration.\n\
    `dihya check`: 0 up, 1 degraded, 2 down, 3 unknown, bad usage or configuration.\n\n\
    Start here:\n  dihya serve\n  dihya check")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// One verb each.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Watch, alert, record and answer, until told to stop.
    Serve(ServeArgs),
    /// Run every check once and say how things stand.
    Check(CheckArgs),
    /// Tell people something.
    #[command(subcommand)]
    Alert(AlertCommand),
    /// Look at incidents, take them, close them.
    #[command(subcommand)]
    Incident(IncidentCommand),
    /// Keep alerts quiet for a while.
    #[command(subcommand)]
    Silence(SilenceCommand),
    /// Send signs of life.
    #[command(subcommand)]
    Heartbeat(HeartbeatCommand),
    /// Check the configuration, or print its schema.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Verify and read the ledger.
    #[command(subcommand)]
    Ledger(LedgerCommand),
    /// Look after the keys of persons.
    #[command(subcommand)]
    Keystore(KeystoreCommand),
    /// Find events: log lines and business events, after privacy.
    Search(SearchArgs),
    /// Ask for events in SQL.
    Query(QueryArgs),
    /// Take events away in open formats.
    #[command(subcommand)]
    Export(ExportCommand),
    /// Bring events along from what kept them before.
    #[command(subcommand)]
    Migrate(MigrateCommand),
    /// See what counts as personal data, in lines and in files.
    #[command(subcommand)]
    Privacy(PrivacyCommand),
    /// Copy the data directory consistently into a new directory.
    Backup(BackupArgs),
    /// Put a backup back in place.
    Restore(RestoreArgs),
    /// Make, list and revoke tokens.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Say how a running server stands.
    Status(StatusArgs),
    /// Print completions for a shell.
    #[command(after_help = "Example:\n  dihya completions bash > /etc/bash_completion.d/dihya")]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Write man pages into a directory.
    #[command(after_help = "Example:\n  dihya man /usr/local/share/man/man1")]
    Man {
        /// The directory; it is made if it is not there.
        dir: PathBuf,
    },
}

/// Which files the command works on.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Place {
    /// The configuration file [default: built-in].
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The data directory [default: ./dihya-data].
    #[arg(short, long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

/// The default data directory.
pub(crate) const DATA_DIR_DEFAULT: &str = "dihya-data";

impl Place {
    /// Returns the data directory.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(|| PathBuf::from(DATA_DIR_DEFAULT))
    }
}

/// Which server the command talks to, and as whom.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Remote {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Address of the server [default: `DIHYA_URL`, else where the server of the data directory says that it listens, else
    /// `server.listen` of the configuration, else <http://127.0.0.1:8970>].
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// File with a token [default: `DIHYA_TOKEN`, else, for a server of this machine alone, `<data-dir>/admin-token`].
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// PEM file with the certificate authority of the server [default: the system's; of the server of the data directory
    /// its very certificate is known].
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Arguments of `serve`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  dihya serve\n  dihya serve --config dihya.yaml --data-dir /var/lib/dihya\n\n\
    Without --config it watches its own host, disk, ledger and resolver. SIGHUP reads the file again; so does any \
    change of it. SIGTERM and SIGINT stop in order; a second one stops at once.")]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) place: Place,
    /// The address to listen on [default: `server.listen`, 127.0.0.1:8970].
    #[arg(short, long, value_name = "ADDR", value_parser = address)]
    pub(crate) listen: Option<String>,
}

/// How `check` writes its result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum CheckFormat {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
    /// For CI systems.
    Junit,
}

/// Arguments of `check`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  dihya check\n  dihya check --config dihya.yaml --format json\n  \
    dihya check --config dihya.yaml --format junit shop payment > report.xml\n\n\
    Exit codes: 0 up, 1 degraded, 2 down, 3 unknown, bad usage or configuration.")]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) place: Place,
    /// How to write the result.
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) format: CheckFormat,
    /// The checks to run, by id [default: all].
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
}

/// Verbs of `alert`.
#[derive(Debug, Subcommand)]
pub(crate) enum AlertCommand {
    /// Send an alert: through the server if it runs, else directly.
    #[command(after_help = "Examples:\n  dihya alert send \"backup failed\" --level critical --channel log\n  \
        dihya alert send \"queue grows\" --service payment --sector ecommerce --label queue=orders\n\n\
        Where no server runs, the alert is written to the ledger and delivered by this command. Where one runs but \
        does not answer, it is kept in spool/, delivered, and admitted by the server within seconds, or by its next start.")]
    Send(AlertSendArgs),
}

/// Arguments of `alert send`.
#[derive(Clone, Debug, Args)]
pub(crate) struct AlertSendArgs {
    /// What to say.
    #[arg(value_name = "TEXT")]
    pub(crate) text: String,
    /// How bad it is: info, warning, error or critical, in any case.
    #[arg(long, default_value = "warning", value_name = "LEVEL")]
    pub(crate) level: Severity,
    /// The channel to tell, beside what the routes say.
    #[arg(long, value_name = "NAME")]
    pub(crate) channel: Option<String>,
    /// The service it concerns.
    #[arg(long, value_name = "NAME")]
    pub(crate) service: Option<String>,
    /// The sector it concerns: health (santé), education (éducation), ecommerce (commerce) or none.
    #[arg(long, default_value = "none", value_name = "SECTOR")]
    pub(crate) sector: Sector,
    /// A further label; may be repeated.
    #[arg(long = "label", value_name = "K=V", value_parser = label)]
    pub(crate) labels: Vec<(String, String)>,
    /// The tenant, where the command works without a server.
    #[arg(long, default_value = "default", value_name = "TENANT", value_parser = tenant)]
    pub(crate) tenant: model::Tenant,
    /// How to write the answer.
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// Arguments of `search`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  dihya search 'service:auth severity>=error \"time out\" -debug'\n  \
    dihya search --from 2h --limit 500 timeout\n  dihya search --follow 'stream:nginx* status:>=500'\n\n\
    Words are looked for in an event's text, whole and whatever their case; all must hold. `field:value`, `field:>=10` and \
    `severity>=warning` ask for fields, `*` stands for any rest, `-` or `NOT ` in front says not (after `--`, where it comes first), \"quotes\" find any text, parts of words too. \
    docs/lake.md has it all. What is asked is recorded, cleared like other free text: a name that stands alone may stay in it.")]
pub(crate) struct SearchArgs {
    /// What to look for; several words are one query.
    #[arg(value_name = "QUERY")]
    pub(crate) query: Vec<String>,
    /// From when on: a time (RFC 3339), or how long ago (90s, 15m, 2h, 7d).
    #[arg(long, value_name = "WHEN", value_parser = when)]
    pub(crate) from: Option<When>,
    /// Until when.
    #[arg(long, value_name = "WHEN", value_parser = when, visible_alias = "to")]
    pub(crate) until: Option<When>,
    /// Most events.
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub(crate) limit: usize,
    /// Tell of events as they come, until interrupted.
    #[arg(long, conflicts_with_all = ["from", "until", "limit"])]
    pub(crate) follow: bool,
    /// How to write them; `json` is a line each.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// Arguments of `query`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  dihya query 'SELECT service, count(*) AS n FROM events GROUP BY service ORDER BY n DESC'\n  \
    dihya query --format arrow 'SELECT * FROM events' > events.arrow\n\n\
    There is one table, `events`, which holds what the token's tenant may see; docs/lake.md has its columns."
)]
pub(crate) struct QueryArgs {
    /// One SELECT.
    #[arg(value_name = "SQL")]
    pub(crate) sql: String,
    /// Most rows.
    #[arg(long, default_value_t = 1_000, value_name = "N")]
    pub(crate) limit: usize,
    /// How to write them.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: RowFormat,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// Verbs of `export`.
#[derive(Debug, Subcommand)]
pub(crate) enum ExportCommand {
    /// Write events into one Parquet file, for Polars, DuckDB, Spark and others.
    Parquet(ExportArgs),
}

/// Arguments of `export parquet`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  dihya export parquet --out events.parquet\n  \
    dihya export parquet --from 2026-11-01T00:00:00Z --to 2026-12-01T00:00:00Z --out november.parquet\n  \
    dihya export parquet --stream 'web-*' --from 7d --out web.parquet 'severity>=error'\n\n\
    The file has all columns of the table `events` (docs/lake.md), in no particular order, and holds what the token's tenant may \
    see. It appears under its name when it is whole. That it was taken, by whom and with which query, is recorded. An \
    export takes five minutes at most: take long stretches part by part.")]
pub(crate) struct ExportArgs {
    /// Which events, as in `dihya search`; all without it.
    #[arg(value_name = "QUERY")]
    pub(crate) query: Vec<String>,
    /// From when on: a time (RFC 3339), or how long ago (90s, 15m, 2h, 7d).
    #[arg(long, value_name = "WHEN", value_parser = when)]
    pub(crate) from: Option<When>,
    /// Until when.
    #[arg(long, value_name = "WHEN", value_parser = when, visible_alias = "until")]
    pub(crate) to: Option<When>,
    /// Of which streams: a name, in which `*` stands for any characters.
    #[arg(long, value_name = "STREAM")]
    pub(crate) stream: Option<String>,
    /// The file; it must not be there yet.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// Verbs of `migrate`.
#[derive(Debug, Subcommand)]
pub(crate) enum MigrateCommand {
    /// Send the documents of an Elasticsearch or OpenSearch dump through the running server.
    Ndjson(MigrateArgs),
}

/// Arguments of `migrate ndjson`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  dihya migrate ndjson --dry-run dump.ndjson.gz\n  \
    dihya migrate ndjson dump.ndjson.gz\n  \
    dihya migrate ndjson --from-line 4500001 dump.ndjson.gz more.ndjson.zst\n  \
    elasticdump --input=https://es:9200/web --output=$ --type=data | dihya migrate ndjson -\n\n\
    A line is a hit with `_source` and `_index`, as elasticdump and scroll scripts write it, a whole page of a scroll \
    (`hits.hits`), or a document alone. Times stay as they are; the index, without a date behind it, becomes the stream. \
    What was taken is durable, batch by batch and in order: when something stops the command, it says with which \
    --from-line it goes on. Lines that cannot be read are told with file and number, and the rest goes on.")]
pub(crate) struct MigrateArgs {
    /// The files, plain, gzip or zstd; - for standard input.
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// The line of the first file to begin with.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) from_line: u64,
    /// The stream of documents that name no index.
    #[arg(long, default_value = "migrated", value_name = "STREAM")]
    pub(crate) stream: String,
    /// Read everything and send nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// How rows are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum RowFormat {
    /// A table for people.
    #[default]
    Text,
    /// A JSON object a line, as they come.
    Ndjson,
    /// Arrow's streaming IPC format, as it comes.
    Arrow,
}

/// A moment: said, or so long before now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// A time.
    At(model::Timestamp),
    /// How long ago.
    Ago(std::time::Duration),
}

fn when(text: &str) -> Result<When, String> {
    if let Ok(at) = text.parse() {
        return Ok(When::At(at));
    }
    let ago = model::config::parse_duration(text);
    ago.map(When::Ago)
        .map_err(|_| "expected a time such as 2026-11-27T10:00:00Z, or how long ago, such as 2h".to_owned())
}

fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected name=value")?;
    if !model::label::is_label_name(name) {
        return Err("expected a label name of letters, digits and underscores".to_owned());
    }
    Ok((name.to_owned(), value.to_owned()))
}

fn address(text: &str) -> Result<String, String> {
    if crate::config::validate::is_address(text) {
        Ok(text.to_owned())
    } else {
        Err("expected HOST:PORT, such as 127.0.0.1:8970".to_owned())
    }
}

fn tenant(text: &str) -> Result<model::Tenant, String> {
    model::Tenant::new(text).map_err(|error| error.to_string())
}

/// Verbs of `incident`.
#[derive(Debug, Subcommand)]
pub(crate) enum IncidentCommand {
    /// List incidents, newest first.
    #[command(after_help = "Examples:\n  dihya incident list\n  dihya incident list --all --format json")]
    List {
        /// Resolved ones too.
        #[arg(long)]
        all: bool,
        /// Most rows.
        #[arg(long, default_value_t = 50)]
        limit: usize,
        /// How to write the answer.
        #[arg(short, long, value_enum, default_value_t)]
        format: Format,
        #[command(flatten)]
        remote: Remote,
    },
    /// Show one incident and what happened to it.
    #[command(after_help = "Example:\n  dihya incident show 01ARYZ6S41TSV4RRFFQ69G5FAV")]
    Show {
        /// The incident.
        id: String,
        /// How to write the answer.
        #[arg(short, long, value_enum, default_value_t)]
        format: Format,
        #[command(flatten)]
        remote: Remote,
    },
    /// Write a note on an incident.
    #[command(
        after_help = "Example:\n  dihya incident note 01ARYZ6S41TSV4RRFFQ69G5FAV \"a new switch is on its way\" --public"
    )]
    Note {
        /// The incident.
        id: String,
        /// The note.
        text: String,
        /// Show it on the status page.
        #[arg(long)]
        public: bool,
        #[command(flatten)]
        remote: Remote,
    },
    /// Take an incident: reminders stop.
    #[command(after_help = "Example:\n  dihya incident ack 01ARYZ6S41TSV4RRFFQ69G5FAV --note \"on it\"")]
    Ack(IncidentActArgs),
    /// Close an incident whose alerts have stopped.
    #[command(after_help = "Example:\n  dihya incident resolve 01ARYZ6S41TSV4RRFFQ69G5FAV --note \"switch replaced\"")]
    Resolve(IncidentActArgs),
}

/// Arguments of `incident ack` and `incident resolve`.
#[derive(Clone, Debug, Args)]
pub(crate) struct IncidentActArgs {
    /// The incident.
    pub(crate) id: String,
    /// Why, or what next.
    #[arg(long, default_value = "")]
    pub(crate) note: String,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// Verbs of `silence`.
#[derive(Debug, Subcommand)]
pub(crate) enum SilenceCommand {
    /// Set a silence.
    #[command(
        after_help = "Example:\n  dihya silence add service=payment 'severity!=critical' --for 2h --comment \"migration\""
    )]
    Add {
        /// Conditions, all of which must hold: name=value, name!=value, name=~regex, name!~regex.
        #[arg(required = true, value_name = "MATCHER")]
        matchers: Vec<String>,
        /// For how long, from now.
        #[arg(long = "for", default_value = "1h", value_name = "DURATION", value_parser = duration)]
        lasts: std::time::Duration,
        /// Why.
        #[arg(long)]
        comment: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// List silences.
    #[command(after_help = "Example:\n  dihya silence list")]
    List {
        /// Expired ones too.
        #[arg(long)]
        all: bool,
        /// How to write the answer.
        #[arg(short, long, value_enum, default_value_t)]
        format: Format,
        #[command(flatten)]
        remote: Remote,
    },
    /// End a silence now.
    #[command(after_help = "Example:\n  dihya silence expire 3f1c9a52-0d8e-4a43-9a70-5a5f0c1f4f0e")]
    Expire {
        /// The silence.
        id: String,
        #[command(flatten)]
        remote: Remote,
    },
}

fn duration(text: &str) -> Result<std::time::Duration, String> {
    model::config::parse_duration(text).map_err(|_| "expected a duration such as 30m or 2h".to_owned())
}

/// Verbs of `heartbeat`.
#[derive(Debug, Subcommand)]
pub(crate) enum HeartbeatCommand {
    /// Say that a job is alive, began, ended or failed.
    #[command(after_help = "Example:\n  backup.sh; dihya heartbeat ping 6vjq2nakx7hd9w3mtb4c --exit $?")]
    Ping {
        /// The `ping_id` of the heartbeat; of one that has none, the check's id, with --token-file.
        id: String,
        /// The job began.
        #[arg(long, conflicts_with_all = ["fail", "exit"])]
        start: bool,
        /// The job failed.
        #[arg(long, conflicts_with = "exit")]
        fail: bool,
        /// The job ended with this exit code.
        #[arg(long, value_name = "CODE")]
        exit: Option<u8>,
        #[command(flatten)]
        remote: Remote,
    },
}

/// Verbs of `config`.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Find all problems of a configuration file.
    #[command(after_help = "Example:\n  dihya config check dihya.yaml")]
    Check {
        /// The file.
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
        #[command(flatten)]
        place: Place,
    },
    /// Print the JSON schema of the configuration.
    #[command(after_help = "Example:\n  dihya config schema > dihya.schema.json")]
    Schema {
        /// Print the reference page instead.
        #[arg(long, hide = true)]
        markdown: bool,
    },
}

/// Verbs of `ledger`.
#[derive(Debug, Subcommand)]
pub(crate) enum LedgerCommand {
    /// Verify logs offline: entries, tiles, checkpoints, signatures, commitments, sequence, time, meta-log.
    #[command(after_help = "Examples:\n  dihya ledger verify\n  dihya ledger verify --data-dir /backup/dihya\n  \
        dihya ledger verify --keys auditor.keys --earlier kept/checkpoint-*\n  \
        dihya ledger verify --origin localhost/default --format json\n  \
        dihya ledger verify --keystore --config dihya.yaml\n\n\
        Without --keys the keys are those that lie beside the log: that shows that the log agrees with itself, not whose \
        it is.")]
    Verify {
        /// One log only.
        #[arg(long, value_name = "ORIGIN")]
        origin: Option<String>,
        /// The keys to trust, got elsewhere than from this directory: what `dihya ledger keys` printed.
        #[arg(long, value_name = "FILE")]
        keys: Option<PathBuf>,
        /// Signed checkpoints that somebody kept: their logs must go on from them.
        #[arg(long, value_name = "FILE", num_args = 1..)]
        earlier: Vec<PathBuf>,
        /// Open every box whose keys are in the keystores of the directory, and count those with a key that is gone. Nothing of
        /// what is in them is shown. Takes the passphrase of the configuration; a server may run.
        #[arg(long)]
        keystore: bool,
        /// How to write the answer.
        #[arg(short, long, value_enum, default_value_t)]
        format: Format,
        #[command(flatten)]
        place: Place,
    },
    /// Print what whoever shall verify must get by a way he trusts: the public keys of the logs, and the ids under which
    /// the meta-log speaks of them.
    #[command(after_help = "Example:\n  dihya ledger keys > auditor.keys")]
    Keys {
        #[command(flatten)]
        place: Place,
    },
    /// Give logs new signing keys: a record announces them, a checkpoint by old and new hands over, and the old secret keys
    /// are destroyed. The server must be stopped.
    #[command(after_help = "Examples:\n  dihya ledger rotate\n  \
        dihya ledger rotate --origin localhost/default --data-dir /var/lib/dihya\n\n\
        Run it as the user that the server runs as, whose files these are. Whoever verifies with the keys that he has is led to the new ones by the files that this leaves beside the log; \
        `dihya ledger keys` prints the new ones. A rotation that was cut off ends at the next start, or by this command. \
        Backups made before hold the old secret keys: destroy these too if the keys may have been seen.")]
    Rotate {
        /// One log only [default: every log of the instance].
        #[arg(long, value_name = "ORIGIN")]
        origin: Option<String>,
        #[command(flatten)]
        place: Place,
    },
    /// Print the proof that a record is in the ledger, as C2SP tlog-proof.
    #[command(after_help = "Examples:\n  dihya ledger prove 42 > 42.tlog-proof\n  \
        dihya ledger prove --consistency 600 > since-600.txt\n\n\
        With --consistency it prints that the log as it is signed now goes on from its first leaves: what a C2SP witness \
        takes (tlog-witness, add-checkpoint). Read from the directory; a server may run.")]
    Prove {
        /// The record's position, as in its receipt.
        #[arg(required_unless_present = "consistency")]
        position: Option<u64>,
        /// Prove that the log goes on from its first leaves, as many as this, instead of proving a record.
        #[arg(long, value_name = "LEAVES", conflicts_with = "position")]
        consistency: Option<u64>,
        /// The tenant.
        #[arg(long, default_value = "default", value_parser = tenant)]
        tenant: model::Tenant,
        #[command(flatten)]
        remote: Remote,
    },
    /// Print records.
    #[command(
        after_help = "Examples:\n  dihya ledger show --last 20\n  dihya ledger show --from 100 --limit 10 --format json"
    )]
    Show {
        /// The first position.
        #[arg(long, conflicts_with = "last")]
        from: Option<u64>,
        /// Only the last ones.
        #[arg(long)]
        last: Option<u64>,
        /// Most records.
        #[arg(long, default_value_t = 50)]
        limit: u64,
        /// The tenant.
        #[arg(long, default_value = "default", value_parser = tenant)]
        tenant: model::Tenant,
        /// How to write the answer.
        #[arg(short, long, value_enum, default_value_t)]
        format: Format,
        #[command(flatten)]
        place: Place,
    },
}

/// Verbs of `privacy`.
#[derive(Debug, Subcommand)]
pub(crate) enum PrivacyCommand {
    /// Read lines from standard input and show what is found in each, and what is made of it.
    #[command(after_help = "Examples:\n  echo 'mail ana@example.org' | dihya privacy explain\n  \
        dihya privacy explain --json < app.log\n\n\
        With --json each line gives {\"spans\":[{\"start\",\"end\",\"type\",\"action\"}],\"cleared\"}; places are Unicode code \
        points of the line, ends exclusive.")]
    Explain {
        /// Write one JSON object a line.
        #[arg(long)]
        json: bool,
        /// The configuration file whose policy holds [default: everything is replaced by a token].
        #[arg(short, long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Show which kinds of personal data passed, through which stream, on which day: counts, as kept once a minute.
    #[command(after_help = "Example:\n  dihya privacy exposure --data-dir /var/lib/dihya --json")]
    Exposure {
        /// The data directory [default: ./dihya-data].
        #[arg(short, long, value_name = "DIR")]
        data_dir: Option<PathBuf>,
        /// Write one JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Try the policies of streams on cases: is what is stored what you expect?
    Test(PrivacyTestArgs),
    /// Report what personal data lies in files: counts and masked samples by type. Nothing is changed or sent.
    #[command(after_help = "Examples:\n  dihya privacy scan /var/log/nginx/access.log*\n  \
        dihya privacy scan --format json /srv/app/*.log.gz > report.json\n\n\
        Gzip is read as it is; bytes that are no UTF-8 are skipped. Exit codes: 0 nothing found, 1 something found or a file \
        could not be read, 2 bad usage or configuration.")]
    Scan {
        /// The files; `-` is standard input.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// How to write the report.
        #[arg(short, long, value_enum, default_value_t)]
        format: Format,
        /// Samples a type.
        #[arg(long, default_value_t = 3, value_name = "N")]
        samples: usize,
        /// The configuration file whose policy holds [default: everything counts].
        #[arg(short, long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

/// Arguments of `privacy test`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  dihya privacy test --config dihya.yaml privacy-cases.yaml\n\n\
    The file has a list `cases`, each with `stream`, `input` and `expected`, and `name` if it has one. An input that is a map \
    is the body of an event; one that is text is a line. Exit codes: 0 all as expected, 1 some are not, 2 bad usage or \
    configuration.")]
pub(crate) struct PrivacyTestArgs {
    /// The cases.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The configuration whose policy is tested [default: built-in].
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// Arguments of `backup`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  dihya backup /backup/dihya-2026-11-22\n\n\
    Works while the server runs. The copy holds records, keys and tokens: keep it as safe as the original.")]
pub(crate) struct BackupArgs {
    /// Where to; it must not be there.
    #[arg(value_name = "DIR")]
    pub(crate) to: PathBuf,
    #[command(flatten)]
    pub(crate) place: Place,
}

/// Arguments of `restore`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  dihya restore /backup/dihya-2026-11-22 --data-dir /var/lib/dihya\n  \
    dihya restore /backup/dihya-2026-11-22 --newest /mirror/localhost/default/checkpoint\n\n\
    The backup is verified first. The data directory must be empty or missing.\n\
    A log that goes on from an old copy contradicts every newer checkpoint that others have seen. With `--newest`\n\
    the copy is not built upon when it is behind: it can be read and verified, and a server refuses to write to it.")]
pub(crate) struct RestoreArgs {
    /// The backup.
    #[arg(value_name = "DIR")]
    pub(crate) from: PathBuf,
    /// The newest checkpoint that anybody has seen: of the lost directory, a mirror or an auditor. Once for each log.
    #[arg(long, value_name = "CHECKPOINT")]
    pub(crate) newest: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) place: Place,
}

/// Verbs of `keystore`.
#[derive(Debug, Subcommand)]
pub(crate) enum KeystoreCommand {
    /// Put the keystores of all tenants under another passphrase. The server must be stopped.
    #[command(after_help = "Examples:\n  dihya keystore passphrase --config dihya.yaml --new new.passphrase\n  \
        dihya keystore passphrase --config dihya.yaml --random\n\n\
        The present passphrase is that of the configuration (privacy.keystore.passphrase, or privacy.keystore.previous). Without \
        --new and --random the keystores are put under the configuration's own. If it is cut off, each keystore opens under \
        the old or the new one: run it again.\n\
        While a server runs: write the new passphrase to privacy.keystore.passphrase and the old one to \
        privacy.keystore.previous, and have the configuration read again (SIGHUP); then take previous out.\n\
        Whoever has a copy of a keystore from before opens that copy with the old passphrase still.")]
    Passphrase {
        /// A file with the new passphrase; the end of its line is no part of it.
        #[arg(long, value_name = "FILE", conflicts_with = "random")]
        new: Option<PathBuf>,
        /// Without a passphrase: a random key in a file beside the keys.
        #[arg(long)]
        random: bool,
        #[command(flatten)]
        place: Place,
    },
}

/// Verbs of `token`.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token. It is printed once and stored hashed.
    #[command(after_help = "Examples:\n  dihya token add ci --role ingest --expires 90d\n  \
        dihya token add shop-admin --tenant shop --role admin\n  \
        dihya token add wallboard --role viewer --scope status --scope checks\n\n\
        A token opens no more, and for no longer, than the one that makes it.")]
    Add {
        /// What people call it.
        name: String,
        /// What it may do: ingest, viewer, operator, analyst, privacy-officer, auditor, admin; may be repeated.
        #[arg(long = "role", required = true, value_name = "ROLE")]
        roles: Vec<server::token::Role>,
        /// The tenant that it belongs to, for administrators of the default tenant [default: the caller's].
        #[arg(long, value_name = "TENANT", value_parser = tenant)]
        tenant: Option<model::Tenant>,
        /// A part of the API that it is confined to: status, checks, incidents, silences, notifications, alerts,
        /// heartbeats, ledger, tokens; may be repeated [default: all].
        #[arg(long = "scope", value_name = "SCOPE")]
        scopes: Vec<server::routes::Area>,
        /// After how long it stops working.
        #[arg(long, value_name = "DURATION", value_parser = duration)]
        expires: Option<std::time::Duration>,
        #[command(flatten)]
        remote: Remote,
    },
    /// List tokens, without their secrets.
    #[command(after_help = "Examples:\n  dihya token list\n  dihya token list --tenant shop")]
    List {
        /// The tenant, for administrators of the default tenant [default: the caller's].
        #[arg(long, value_name = "TENANT", value_parser = tenant)]
        tenant: Option<model::Tenant>,
        /// How to write the answer.
        #[arg(short, long, value_enum, default_value_t)]
        format: Format,
        #[command(flatten)]
        remote: Remote,
    },
    /// Make a token stop working now.
    #[command(after_help = "Example:\n  dihya token revoke 5f0c3a9e71b2d844")]
    Revoke {
        /// The token's id, as listed.
        id: String,
        #[command(flatten)]
        remote: Remote,
    },
}

/// Arguments of `status`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  dihya status\n  dihya status --format json")]
pub(crate) struct StatusArgs {
    /// How to write the answer.
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_each_command_has_an_example() {
        let mut command = Cli::command();
        command.clone().debug_assert();
        command.build();
        let mut queue = vec![command];
        while let Some(command) = queue.pop() {
            queue.extend(command.get_subcommands().filter(|sub| sub.get_name() != "help").cloned());
            if command.get_subcommands().next().is_none() {
                let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("Example"), "{} has no example", command.get_name());
            }
        }
    }

    #[test]
    fn levels_sectors_labels_and_durations_are_read() {
        let parse = |args: &[&str]| Cli::try_parse_from([&["dihya", "alert", "send", "x"], args].concat());
        let Ok(Cli { command: Command::Alert(AlertCommand::Send(args)) }) =
            parse(&["--level", "CRITICAL", "--sector", "santé", "--label", "a=b=c"])
        else {
            panic!("must parse")
        };
        assert_eq!((args.level, args.sector), (Severity::Critical, Sector::Health));
        assert_eq!(args.labels, [("a".to_owned(), "b=c".to_owned())]);
        for bad in [["--label", "a"], ["--label", "é=1"], ["--level", "loud"], ["--sector", "bank"], ["--tenant", "A"]]
        {
            assert!(parse(&bad).is_err(), "{bad:?}");
        }
        assert!(address("[::1]:0").is_ok() && address("8970").is_err() && address("h:").is_err());
        assert!(duration("2h").is_ok() && duration("soon").is_err());
    }

    /// Writes what `--help` says of each command, one heading each.
    fn reference_page() -> String {
        let mut page = String::from(
            "# Command line\n\nGenerated from the definition of the command line; `dihya COMMAND --help` says the same, \
             `dihya man DIR` writes man pages.\n",
        );
        let mut root = Cli::command().term_width(100).color(clap::ColorChoice::Never);
        root.build();
        let mut queue = std::collections::VecDeque::from([root]);
        while let Some(mut command) = queue.pop_front() {
            let help = command.render_long_help().to_string();
            let help: Vec<&str> = help.lines().map(str::trim_end).collect();
            let name = command.get_bin_name().unwrap_or("dihya").to_owned();
            page.push_str(&format!("\n## `{name}`\n\n```text\n{}\n```\n", help.join("\n")));
            let subs: Vec<_> = command.get_subcommands().filter(|sub| sub.get_name() != "help").cloned().collect();
            for sub in subs.into_iter().rev() {
                queue.push_front(sub);
            }
        }
        page
    }

    #[test]
    fn the_published_page_is_that_of_the_definition() {
        expect_test::expect_file!["../../../docs/reference/cli.md"].assert_eq(&reference_page());
    }
}
