//! Every bound of the product, in one place, with the relations between them asserted at compile time.

use std::time::Duration;

/// Largest tlog entry: the C2SP tile format prefixes each with a `u16`.
pub const ENTRY_BYTES_MAX: usize = 65_535;
/// Deepest nesting of lists and maps in one value.
pub const VALUE_DEPTH_MAX: usize = 32;
/// Largest payload or boxes part of one WAL frame.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 20;
/// Most records under one batch leaf.
pub const BATCH_RECORDS_MAX: usize = 4_096;
/// Longest time a batch stays open.
pub const BATCH_OPEN_MAX: Duration = Duration::from_secs(1);
/// Most records that one `append` may carry.
pub const APPEND_RECORDS_MAX: usize = 4_096;
/// Records that may wait for the ledger's writer before senders are told to come back.
pub const APPEND_QUEUE_MAX: usize = 65_536;
/// Size at which a WAL segment is sealed and the next one is opened.
pub const SEGMENT_BYTES_MAX: u64 = 64 << 20;
/// Space preallocated for alerts and acknowledgements when the disk is full.
pub const RESERVE_BYTES: u64 = 8 << 20;
/// Longest time between a durable record and the signed checkpoint that covers it.
pub const COMMIT_LAG_MAX: Duration = Duration::from_secs(1);

/// Most field names of one stream whose privacy decision is remembered; further ones are decided each time.
pub const POLICY_FIELDS_MAX: usize = 4_096;
/// Most rows (day, stream, type) of the exposure ledger; at the bound further streams are counted together.
pub const EXPOSURE_ROWS_MAX: usize = 65_536;
/// Days that the exposure ledger remembers: a breach may be found months later.
pub const EXPOSURE_DAYS_MAX: usize = 400;
/// Most keys of one tenant's keystore: a person has one per retention class.
pub const SUBJECT_KEYS_MAX: usize = 4_000_000;
/// Most lookup tags of one tenant's keystore: an identifier has one per retention class.
pub const LOOKUP_TAGS_MAX: usize = 8_000_000;
/// Most links between keys of one tenant that turned out to be one person's.
pub const IDENTITY_LINKS_MAX: usize = 1_000_000;
/// Days for which a key of a class that has an end may be used after the file said so, before it has to say so again: as much
/// longer than the class says does a key live at most.
pub const KEY_USE_DAYS: u32 = 7;
/// Most owners of one box whose values cannot be told apart by person.
pub const BOX_OWNERS_MAX: usize = 16;
/// Most records of one sealed frame of a keystore's file.
pub const KEYSTORE_FRAME_RECORDS_MAX: usize = 4_096;
/// Most values of one event that are sealed; further ones are replaced and not kept.
pub const SEALED_VALUES_MAX: usize = 256;
/// Most boxes of one record: one per owner.
pub const BOXES_MAX: usize = 255;
/// Largest body of events, as it comes and unpacked. Agents split what is larger when they are told 413.
pub const INTAKE_BODY_BYTES_MAX: usize = 24 << 20;
/// Memory for bodies of events that are received at the same time; further ones wait a little and are told to come back.
pub const INTAKE_MEMORY_MAX: usize = 96 << 20;
/// What one tenant may have of it: a hostile one, or one that sends slowly, leaves room for the others.
pub const INTAKE_TENANT_MEMORY_MAX: usize = 48 << 20;
/// Most requests whose events are taken apart at the same time: a group of 2 MiB of JSON can be thirty in memory.
pub const INTAKE_TURNS_MAX: usize = 8;
/// Largest event, as JSON: cleared and encoded it fits a payload.
pub const INTAKE_EVENT_BYTES_MAX: usize = 512 << 10;
/// Bytes that the events of one body may take with what they share written to each.
pub const INTAKE_EXPANDED_BYTES_MAX: usize = 4 * INTAKE_BODY_BYTES_MAX;
/// Most items of one body.
pub const INTAKE_ITEMS_MAX: usize = 50_000;
/// Most events that go to the ledger in one append.
pub const INTAKE_GROUP_EVENTS_MAX: usize = 1_024;
/// Bytes of JSON after which a group of events goes to the ledger.
pub const INTAKE_GROUP_BYTES_MAX: usize = 2 << 20;
/// Longest message of syslog; what is longer is cut. RFC 5424 asks for 2 KiB, rsyslog takes 8.
pub const SYSLOG_MESSAGE_BYTES_MAX: usize = 64 << 10;
/// Bytes of messages of one connection that go to the ledger together, at least one of the largest.
pub const SYSLOG_GROUP_BYTES_MAX: usize = 128 << 10;
/// How long a message waits for others to go to the ledger with.
pub const SYSLOG_GATHER_MAX: Duration = Duration::from_millis(20);
/// Most connections of all listeners for syslog together.
pub const SYSLOG_CONNECTIONS_MAX: usize = 512;
/// Most of them of one client, an IPv4 address or an IPv6 /64.
pub const SYSLOG_CONNECTIONS_PER_CLIENT_MAX: usize = 128;
/// Time after which a connection that brings nothing is closed. Senders keep theirs for days, and some do not notice that
/// one was closed before they have lost a line.
pub const SYSLOG_IDLE_MAX: Duration = Duration::from_secs(4 * 3_600);
/// Bytes of datagrams of one listener that wait for the ledger; at the bound they are dropped and counted.
pub const SYSLOG_QUEUE_BYTES_MAX: usize = 8 << 20;
/// Most datagrams that wait.
pub const SYSLOG_QUEUE_MAX: usize = 16_384;
/// Longest record of a file that is followed; what is longer is cut.
pub const FILE_RECORD_BYTES_MAX: usize = 256 << 10;
/// Bytes of records of all followed files that are read before they are durable.
pub const FILES_GROUP_BYTES_MAX: usize = 1 << 20;
/// Most files that are followed at the same time.
pub const FILES_MAX: usize = 1_024;
/// Bytes of a journal's entry that are kept, names included; the rest of a larger one is gone.
pub const JOURNAL_ENTRY_BYTES_MAX: usize = 256 << 10;
/// Bytes of an entry that large fields may take: small ones find room behind them.
pub const JOURNAL_LARGE_BYTES_MAX: usize = 192 << 10;
/// Bytes up to which a field is small.
pub const JOURNAL_SMALL_BYTES_MAX: usize = 256;
/// Fields of an entry, as many as systemd itself takes.
pub const JOURNAL_FIELDS_MAX: usize = 1_024;
/// Length that a field may say it has, as systemd bounds it: beyond it, what comes is no journal.
pub const JOURNAL_FIELD_LENGTH_MAX: u64 = 768 << 20;
/// Entries that are admitted at once, and their bytes.
pub const JOURNAL_GROUP_ENTRIES_MAX: usize = 1_024;
/// See [`JOURNAL_GROUP_ENTRIES_MAX`].
pub const JOURNAL_GROUP_BYTES_MAX: usize = 512 << 10;
/// Journals (boots of machines) of which is remembered how far they came; beyond it, the one that was quiet for longest is
/// forgotten, and what it sends again is recorded again.
pub const JOURNALS_MAX: usize = 4_096;
/// How long one upload of a journal may last: what is durable by then is not taken again.
pub const JOURNAL_UPLOAD_MAX: Duration = Duration::from_secs(3_600);
/// Most listeners beside the one for HTTP.
pub const LISTENERS_MAX: usize = 32;
/// Rules that say how long streams are kept in the lake: each file is held against them.
pub const LAKE_RULES_MAX: usize = 1_000;

/// Bytes of rows that the lake holds in memory for all tenants: at the bound it reads no more of the ledger, and the
/// ledger keeps what is not read.
pub const LAKE_HOT_BYTES_MAX: usize = 96 << 20;

/// Bytes of one tenant's rows in memory that make a commit due, however young they are, and most that one commit takes: half of
/// what there may be, so that rows come while others are written.
pub const LAKE_FLUSH_BYTES: usize = 48 << 20;

/// Bytes of a row group, encoded, after which it is ended: it stands in memory until then.
pub const LAKE_GROUP_BYTES_MAX: usize = 32 << 20;

/// Bytes of footers of data files that are kept in memory for the next query.
pub const LAKE_FOOTERS_BYTES_MAX: usize = 16 << 20;

/// Most records that the lake reads at once: each may be a payload of the largest size.
pub const LAKE_READ_RECORDS_MAX: usize = 256;

/// Most tenants whose records the lake takes apart at the same time.
pub const LAKE_READ_TURNS_MAX: usize = 2;

/// Most tenants whose rows are written at the same time: each has a row group in memory beside its rows.
pub const LAKE_WRITE_TURNS_MAX: usize = 2;

/// Records that are no events after which the lake writes down how far it has read.
pub const LAKE_SILENT_RECORDS_MAX: u64 = 16_384;

/// Commits of a tenant's table after which its small files are made into large ones.
pub const LAKE_COMMITS_MAX: u64 = 50;

/// Small files of one day after which they are made into large ones, whatever else was committed.
pub const LAKE_SMALL_FILES_MAX: usize = 16;

/// Size at which a data file of the lake is ended.
pub const LAKE_FILE_BYTES_MAX: usize = 256 << 20;

/// Bytes of the directory of one data file's token filters: eight for each filter. What claims more is not read.
pub const LAKE_TOKENS_DIRECTORY_MAX: usize = 8 << 20;

/// Files of a tenant whose token filters are made again in one round of upkeep: each is read whole.
pub const LAKE_TOKENS_MADE_MAX: usize = 16;

/// How long a removed data file stays on the disk for the queries that began before: longer than any may run.
pub const LAKE_REMOVED_KEPT: Duration = Duration::from_secs(360);

/// Longest search that people type, in bytes.
pub const SEARCH_BYTES_MAX: usize = 8 << 10;

/// Most words and fields of one search.
pub const SEARCH_TERMS_MAX: usize = 256;

/// Deepest brackets of one search.
pub const SEARCH_DEPTH_MAX: usize = 32;

/// Most events that one search answers with; further ones are on the next page.
pub const SEARCH_ROWS_MAX: usize = 10_000;

/// Most buckets of one histogram.
pub const HISTOGRAM_BUCKETS_MAX: usize = 2_000;

/// Most values that the statistics of a field name.
pub const FIELD_VALUES_MAX: usize = 1_000;

/// Longest SQL of one query, in bytes.
pub const SQL_BYTES_MAX: usize = 64 << 10;

/// Most keywords, names and operators of it: they make a plan deep, and plans are walked by recursion. Lists of values are
/// not counted.
pub const SQL_STEPS_MAX: usize = 1_000;

/// Most queries of the lake that run at the same time; further ones are told to come back.
pub const QUERIES_MAX: usize = 8;

/// Memory of all queries that run, for what they sort, group and join; beyond it they spill to the disk.
pub const QUERY_MEMORY_MAX: usize = 512 << 20;

/// Bytes that one process may spill.
pub const QUERY_SPILL_BYTES_MAX: u64 = 8 << 30;

/// Longest time that a query may ask for.
pub const QUERY_TIME_MAX: Duration = Duration::from_secs(300);

/// Most outputs of one instance: each reads the ledger for each of its tenants.
pub const OUTPUTS_MAX: usize = 32;
/// Largest batch that is handed to an output's receiver, before it is packed.
pub const OUTPUT_BATCH_BYTES_MAX: usize = 5 << 20;
/// Most events of one batch.
pub const OUTPUT_BATCH_EVENTS_MAX: usize = 8_192;
/// Most records that an output reads at once: each may be a payload of the largest size.
pub const OUTPUT_READ_RECORDS_MAX: usize = 64;
/// Most outputs that make or hand over a batch at the same time; the others wait with what they hold.
pub const OUTPUT_TURNS_MAX: usize = 2;
/// Largest answer of a receiver.
pub const OUTPUT_ANSWER_BYTES_MAX: usize = 4 << 20;
/// Longest wait that a receiver may ask for.
pub const OUTPUT_RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// Most streams that a tenant may send to between two starts.
pub const STREAMS_MAX: usize = 4_096;
/// Most tenants of one instance.
pub const TENANTS_MAX: usize = 256;
/// Most times that the keys of one log may be changed: once a week for 19 years. Verifiers read them all at once.
pub const KEY_ROTATIONS_MAX: u64 = 1_000;
/// Longest name of a check, service, receiver, channel or tenant, in bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// Most names interned per tenant.
pub const NAMES_MAX: usize = 1 << 20;
/// Most checks of one instance.
pub const CHECKS_MAX: usize = 100_000;
/// Most bytes of a response body that a probe reads unless its check says otherwise.
pub const PROBE_BODY_BYTES_MAX: usize = 1 << 20;
/// Most bytes of a body after decompression: a bomb ends here.
pub const PROBE_DECODED_BYTES_MAX: usize = 4 << 20;
/// Most redirects that a probe follows.
pub const PROBE_REDIRECTS_MAX: usize = 10;
/// Most verified certificate chains remembered per set of authorities.
pub const PROBE_CHAINS_MAX: usize = 16_384;
/// Most answers of a DNS server remembered: two, of either family, for each of many names.
pub const PROBE_NAMES_MAX: u64 = 65_536;
/// Longest time that certificate authorities and client certificates are used before their files are read again.
pub const PROBE_TRUST_AGE_MAX: Duration = Duration::from_secs(3_600);
/// Most bytes that a condition may make of what it reads, by joining, replacing and adding.
pub const CONDITION_TEXT_BYTES_MAX: u64 = 64 << 20;
/// Most values of a JSON answer, multiplied over nested loops, that a condition may visit.
pub const CONDITION_COST_MAX: u64 = 1 << 20;
/// Longest CEL expression of a condition, in bytes.
pub const CONDITION_BYTES_MAX: usize = 4 << 10;
/// Most bytes of a plugin's standard output and error that are read.
pub const PLUGIN_OUTPUT_BYTES_MAX: usize = 64 << 10;
/// Most threads in which probes wait for what blocks: file systems, the verification of ledgers.
pub const PROBE_THREADS_MAX: usize = 64;
/// Most concurrent plugin processes.
pub const PLUGINS_RUNNING_MAX: usize = 64;
/// Most of them that may be plugins which did not end in time when they last ran.
pub const PLUGINS_SLOW_MAX: usize = 16;
const _: () = assert!(PLUGINS_SLOW_MAX < PLUGINS_RUNNING_MAX, "plugins that hang leave room for those that end");
/// Longest time-out that a check may ask for.
pub const CHECK_TIMEOUT_MAX: Duration = Duration::from_secs(300);
/// Shortest interval that a check may ask for.
pub const CHECK_INTERVAL_MIN: Duration = Duration::from_secs(1);
/// Longest reason or actual value kept in a result, in bytes.
pub const REASON_BYTES_MAX: usize = 1_024;

/// Most labels of one alert.
pub const LABELS_MAX: usize = 64;
/// Longest label value, in bytes.
pub const LABEL_VALUE_BYTES_MAX: usize = 2_048;
/// Longest annotation value, in bytes.
pub const ANNOTATION_BYTES_MAX: usize = 16 << 10;
/// Most firing alerts per tenant.
pub const ALERTS_FIRING_MAX: usize = 1_000_000;
/// Most alerts named in one notification; the rest are counted.
pub const NOTIFICATION_ALERTS_MAX: usize = 100;
/// Most notifications waiting in the outbox, per tenant and channel: one that is dead keeps no other quiet.
pub const OUTBOX_ROWS_MAX: usize = 250_000;
/// How long what is over is kept in the control state: ended notifications and silences, resolved incidents. Records
/// stay in the ledger for as long as its retention says.
pub const OVER_KEPT: Duration = Duration::from_secs(90 * 86_400);
/// Most silences in force per tenant.
pub const SILENCES_MAX: usize = 10_000;
/// Longest note on an incident, in bytes.
pub const NOTE_BYTES_MAX: usize = 8 << 10;

/// Largest request body of our own API.
pub const REQUEST_BODY_BYTES_MAX: usize = 4 << 20;
/// Most connections that the listener serves at once.
pub const CONNECTIONS_MAX: usize = 4_096;
/// Most connections of one client, an IPv4 address or an IPv6 /64: no one of them keeps all others out.
pub const CONNECTIONS_PER_CLIENT_MAX: usize = 1_024;
/// Time within which a client must have sent its request head.
pub const REQUEST_HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Most rows in one page of an API listing.
pub const PAGE_ROWS_MAX: usize = 1_000;
/// Most words of a question that are looked up to find whose it is.
pub const QUESTION_WORDS_MAX: usize = 64;

/// Longest question about events, in bytes.
pub const QUERY_BYTES_MAX: usize = 16 << 10;
/// Most callers that follow events at the same time.
pub const FOLLOWERS_MAX: usize = 64;
/// Most rows that one question in SQL is answered with.
pub const SQL_ROWS_MAX: usize = 1_000_000;
/// Most failed authentications per client address and minute before 429.
pub const AUTH_FAILURES_PER_MINUTE_MAX: u32 = 20;
/// Most client addresses whose failed authentications are counted apart; beyond them, they share one count.
pub const AUTH_CLIENTS_MAX: usize = 16_384;
/// Most requests per token and minute before 429.
pub const TOKEN_REQUESTS_PER_MINUTE_MAX: u32 = 60_000;
/// Most tokens of one instance.
pub const TOKENS_MAX: usize = 10_000;
/// Longest request head, in bytes.
pub const REQUEST_HEAD_BYTES_MAX: usize = 32 << 10;
/// Time within which a request must be answered, its body read included, unless its route runs a check.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Time after which a connection without a request is closed.
pub const CONNECTION_IDLE_MAX: Duration = Duration::from_secs(60);
/// Time that requests in flight are given to end when the server stops.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);
/// Most incidents that the status page remembers, per tenant.
pub const STATUS_INCIDENTS_MAX: usize = 1_000;
/// Most checks that the status page shows; the worst come first, the rest are counted.
pub const STATUS_CHECKS_MAX: usize = 200;
/// Days that the status page looks back.
pub const STATUS_DAYS: i64 = 90;

const _: () =
    assert!(OVER_KEPT.as_secs() as i64 >= STATUS_DAYS * 86_400, "what the status page shows can be looked up");
const _: () =
    assert!(PAYLOAD_BYTES_MAX as u64 * 8 <= SEGMENT_BYTES_MAX, "a segment holds several of the largest frames");
const _: () = assert!(CONNECTIONS_PER_CLIENT_MAX <= CONNECTIONS_MAX / 2, "one client leaves room for others");
const _: () =
    assert!(INTAKE_BODY_BYTES_MAX * 2 <= INTAKE_TENANT_MEMORY_MAX, "the largest body finds room, packed and unpacked");
const _: () = assert!(INTAKE_TENANT_MEMORY_MAX <= INTAKE_MEMORY_MAX / 2, "one tenant leaves room for others");
const _: () = assert!(INTAKE_GROUP_EVENTS_MAX <= APPEND_RECORDS_MAX, "a group of events is one append");
const _: () =
    assert!(SYSLOG_MESSAGE_BYTES_MAX * 8 <= INTAKE_EVENT_BYTES_MAX, "a message is an event, however it is escaped");
const _: () = assert!(SYSLOG_MESSAGE_BYTES_MAX <= SYSLOG_GROUP_BYTES_MAX, "the largest message is a group");
const _: () =
    assert!(SYSLOG_CONNECTIONS_PER_CLIENT_MAX <= SYSLOG_CONNECTIONS_MAX / 2, "one client leaves room for others");
const _: () = assert!(FILE_RECORD_BYTES_MAX * 2 <= INTAKE_EVENT_BYTES_MAX, "a record of a file is an event");
const _: () = assert!(JOURNAL_ENTRY_BYTES_MAX * 2 <= INTAKE_EVENT_BYTES_MAX, "an entry is an event");
const _: () = assert!(JOURNAL_LARGE_BYTES_MAX < JOURNAL_ENTRY_BYTES_MAX, "small fields find room behind large ones");
const _: () = assert!(INTAKE_EVENT_BYTES_MAX * 2 <= PAYLOAD_BYTES_MAX, "what clearing adds finds room");
const _: () = assert!(SUBJECT_KEYS_MAX <= LOOKUP_TAGS_MAX, "each key is found by a tag at least");
const _: () = assert!(LOOKUP_TAGS_MAX < u32::MAX as usize / 2, "places in a keystore's tables are 32 bits wide");
const _: () = assert!(SEALED_VALUES_MAX * 34 <= ENTRY_BYTES_MAX / 4, "commitments to sealed values leave room");
const _: () = assert!(BATCH_RECORDS_MAX <= APPEND_QUEUE_MAX, "a full batch fits the queue");
const _: () = assert!(PROBE_BODY_BYTES_MAX <= PROBE_DECODED_BYTES_MAX, "decoding never allows less than reading");
const _: () = assert!(INTAKE_EVENT_BYTES_MAX * 4 <= OUTPUT_BATCH_BYTES_MAX, "the largest event fits a batch");
const _: () = assert!(OUTPUT_BATCH_EVENTS_MAX * 256 <= OUTPUT_ANSWER_BYTES_MAX, "the answer to a full batch is read");
const _: () = assert!(LAKE_FLUSH_BYTES <= LAKE_HOT_BYTES_MAX / 2, "one tenant leaves room for others");
const _: () = assert!(QUERY_TIME_MAX.as_secs() < LAKE_REMOVED_KEPT.as_secs(), "no query meets a file that is gone");
