//! Every metric's name, type, labels and meaning, in one table: the registry and the reference page come from it.

/// A metric.
#[derive(Debug)]
pub struct Entry {
    /// The name of its samples; histograms have `_bucket`, `_sum` and `_count` behind it.
    pub name: &'static str,
    /// `counter`, `gauge`, `histogram` or `info`.
    pub ty: &'static str,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it counts, without a full stop.
    pub help: &'static str,
}

impl Entry {
    /// Returns the name of the family: the sample's without the suffix that its type adds.
    #[must_use]
    pub fn family(&self) -> &'static str {
        let suffix = match self.ty {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        self.name.strip_suffix(suffix).unwrap_or(self.name)
    }
}

macro_rules! entries {
    ($($id:ident = $name:literal $ty:literal [$($label:literal),*] $help:literal;)*) => {
        $(pub(super) const $id: Entry = Entry { name: $name, ty: $ty, labels: &[$($label),*], help: $help };)*

        /// All metrics, in the order of the reference page.
        pub static ALL: &[Entry] = &[$($id),*];
    };
}

entries! {
    CHECK_UP = "dihya_check_up" "gauge" ["tenant", "check", "kind"]
        "Whether the check's target works: 1 when up or degraded, 0 when down, no sample while unknown";
    CHECK_STATE = "dihya_check_state" "gauge" ["tenant", "check", "kind", "state"]
        "1 for the state that the check is in, 0 for the other three";
    CHECK_DURATION = "dihya_check_duration_seconds" "gauge" ["tenant", "check", "kind", "phase"]
        "How long each phase of the last run took; phases that did not happen have no sample";
    CHECK_AT = "dihya_check_last_run_timestamp_seconds" "gauge" ["tenant", "check", "kind"]
        "When the last run ended, in Unix time";
    CHECK_RESULTS = "dihya_check_results_total" "counter" ["tenant", "check", "kind", "state"]
        "Runs by the state that each of them alone would give";
    SCHEDULER_RUNS = "dihya_scheduler_runs_total" "counter" []
        "Runs of checks that were started";
    SCHEDULER_RUNNING = "dihya_scheduler_running" "gauge" []
        "Runs of checks in flight";
    SCHEDULER_SKIPPED = "dihya_scheduler_skipped_total" "counter" []
        "Runs left out because the one before was still going, or because they would have been late by an interval";
    SCHEDULER_LAG = "dihya_scheduler_lag_seconds" "histogram" []
        "How late runs of checks started";
    LOST = "dihya_signals_lost_total" "counter" ["tenant", "cause", "kind"]
        "Signals that nobody will send again and that were not recorded; a gap record says so in the ledger";
    SYSLOG_MESSAGES = "dihya_syslog_messages_total" "counter" ["tenant", "listener", "outcome"]
        "Messages of syslog, by the kind of the listener: durable, or lost and counted";
    SYSLOG_CONNECTIONS = "dihya_syslog_connections" "gauge" []
        "Open connections that bring syslog";
    LEDGER_APPENDS = "dihya_ledger_appends_total" "counter" ["tenant", "outcome"]
        "Records offered to the ledger: durable, or refused as retry, reject or stop";
    LEDGER_RECORDS = "dihya_ledger_records" "gauge" ["tenant"]
        "Records in the log";
    LEDGER_COMMITTED = "dihya_ledger_committed_leaves" "gauge" ["tenant"]
        "Leaves under the last signed checkpoint";
    LEDGER_COMMIT_LAG = "dihya_ledger_commit_lag_seconds" "gauge" ["tenant"]
        "How long the oldest durable record has waited for a signed checkpoint";
    LEDGER_SYNC_SECONDS = "dihya_ledger_sync_seconds" "histogram" []
        "How long the syncs of the write-ahead log took";
    ALERTS = "dihya_alerts_admitted_total" "counter" ["tenant", "level"]
        "Alerts admitted, from failing checks and over the API";
    ALERTS_DROPPED = "dihya_alerts_dropped_total" "counter" ["tenant"]
        "Alerts that were dropped because as many fire as can be kept";
    NOTIFICATIONS = "dihya_notification_attempts_total" "counter" ["tenant", "channel", "outcome"]
        "Attempts at notifications: delivered, retry or failed";
    OUTBOX_PENDING = "dihya_outbox_pending" "gauge" ["tenant", "channel"]
        "Notifications that wait for an attempt";
    OUTPUT_EVENTS = "dihya_output_events_total" "counter" ["tenant", "output", "outcome"]
        "Events by what became of them at an output: sent, known (the receiver had them already), refused for good, or expired before they could be sent";
    OUTPUT_BYTES = "dihya_output_bytes_total" "counter" ["tenant", "output"]
        "Bytes that went to an output's receiver, as packed";
    OUTPUT_FAILURES = "dihya_output_failures_total" "counter" ["tenant", "output"]
        "Attempts at handing over events that failed and are made again";
    OUTPUT_LAG = "dihya_output_lag_seconds" "gauge" ["tenant", "output"]
        "How long ago the oldest event was admitted that an output has not handed over";
    REDACTIONS = "dihya_privacy_redactions_total" "counter" ["type"]
        "Values that privacy replaced, by what they were";
    SUBJECT_KEYS = "dihya_privacy_subject_keys" "gauge" ["tenant"]
        "Keys in the keystore: one per person, or value that is nobody's";
    KEYS_MINTED = "dihya_privacy_keys_minted_total" "counter" ["tenant"]
        "Keys that were made for persons not met before";
    MINTS_REFUSED = "dihya_privacy_mints_refused_total" "counter" ["tenant"]
        "Times that keys could not be made, and events were sent back";
    AUTH_FAILURES = "dihya_auth_failures_total" "counter" ["reason"]
        "Requests that were not let in: missing, unknown, role, scope, limited or rate";
    HTTP_REQUESTS = "dihya_http_requests_total" "counter" ["method", "route", "status"]
        "Answers, by the template of the route";
    HTTP_REQUEST_SECONDS = "dihya_http_request_duration_seconds" "histogram" ["route"]
        "How long answers took, from the request's head to the answer's";
    HTTP_CONNECTIONS = "dihya_http_connections" "gauge" []
        "Open connections";
    HTTP_PANICS = "dihya_http_panics_total" "counter" []
        "Handlers that panicked: each one is a bug of ours";
    CONFIG_RELOAD_SUCCESS = "dihya_config_reload_success" "gauge" []
        "Whether the last configuration that was read is in force";
    CONFIG_RELOAD_AT = "dihya_config_reload_timestamp_seconds" "gauge" []
        "When the configuration in force was read, in Unix time";
    READY = "dihya_ready" "gauge" ["tenant"]
        "Whether the instance can be relied on, as /readyz says";
    LAKE_OPEN = "dihya_lake_open" "gauge" ["tenant"]
        "Whether events can be asked for: 0 while the lake is being opened, or cannot be";
    BUILD = "dihya_build_info" "info" ["version"]
        "The version that runs";
    PROCESS_CPU = "process_cpu_seconds_total" "counter" []
        "User and system time of the process";
    PROCESS_MEMORY = "process_resident_memory_bytes" "gauge" []
        "Resident memory of the process";
    PROCESS_FDS = "process_open_fds" "gauge" []
        "Open file descriptors of the process";
}

/// Writes the reference page.
#[must_use]
pub fn page() -> String {
    let mut page = String::from(
        "# Metrics\n\n\
         Generated from `crates/server/src/metrics/reference.rs`; a test compares them.\n\n\
         `GET /metrics` needs a token that may read. It answers in OpenMetrics 1.0 where `Accept` asks for it (Prometheus \
         does) and in the Prometheus text format 0.0.4 otherwise. Figures with a `tenant` label are those of the \
         token's tenant.\n\n\
         | Metric | Type | Labels | Meaning |\n|---|---|---|---|\n",
    );
    for entry in ALL {
        let labels: Vec<String> = entry.labels.iter().map(|label| format!("`{label}`")).collect();
        page.push_str(&format!("| `{}` | {} | {} | {}. |\n", entry.name, entry.ty, labels.join(", "), entry.help));
    }
    page
}
