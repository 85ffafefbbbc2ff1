-- Control state of the alert path: a projection of the ledger. Times in columns are milliseconds since 1970; bodies
-- hold them exactly.

CREATE TABLE cursor (
    tenant    TEXT PRIMARY KEY,
    position  INTEGER NOT NULL,
    folded_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE alerts (
    tenant      TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    body        TEXT NOT NULL,
    PRIMARY KEY (tenant, fingerprint)
) STRICT, WITHOUT ROWID;

CREATE TABLE incidents (
    tenant      TEXT NOT NULL,
    id          TEXT NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('open', 'acknowledged', 'resolved')),
    resolved_ms INTEGER,
    body        TEXT NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX incidents_by_state ON incidents (tenant, state, id DESC);

CREATE TABLE transitions (
    tenant   TEXT NOT NULL,
    position INTEGER NOT NULL,
    incident TEXT NOT NULL,
    body     TEXT NOT NULL,
    PRIMARY KEY (tenant, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX transitions_by_incident ON transitions (tenant, incident, position);

CREATE TABLE groups (
    tenant TEXT NOT NULL,
    id     TEXT NOT NULL,
    body   TEXT NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE silences (
    tenant    TEXT NOT NULL,
    id        TEXT NOT NULL,
    starts_ms INTEGER NOT NULL,
    ends_ms   INTEGER NOT NULL,
    body      TEXT NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX silences_by_end ON silences (tenant, ends_ms DESC);

CREATE TABLE notifications (
    tenant     TEXT NOT NULL,
    id         TEXT NOT NULL,
    position   INTEGER NOT NULL,
    incident   TEXT,
    receiver   TEXT NOT NULL,
    channel    TEXT NOT NULL,
    state      TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'failed')),
    body       TEXT NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT;
CREATE INDEX notifications_by_position ON notifications (tenant, position DESC);
CREATE INDEX notifications_by_incident ON notifications (tenant, incident, position DESC);

-- What is still to be told: one row per notification without a terminal outcome.
CREATE TABLE outbox (
    tenant     TEXT NOT NULL,
    id         TEXT NOT NULL,
    channel    TEXT NOT NULL,
    lane       TEXT NOT NULL, -- within a channel and lane, notifications go out in order
    position   INTEGER NOT NULL,
    at_ms      INTEGER NOT NULL,
    next_ms    INTEGER NOT NULL,
    give_up_ms INTEGER NOT NULL,
    attempts   INTEGER NOT NULL,
    reason     TEXT NOT NULL,
    PRIMARY KEY (tenant, id),
    FOREIGN KEY (tenant, id) REFERENCES notifications (tenant, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX outbox_due ON outbox (tenant, channel, next_ms, position);
CREATE INDEX outbox_lane ON outbox (tenant, channel, lane, position);

CREATE TABLE attempts (
    tenant   TEXT NOT NULL,
    intent   TEXT NOT NULL,
    attempt  INTEGER NOT NULL,
    position INTEGER NOT NULL,
    body     TEXT NOT NULL,
    PRIMARY KEY (tenant, intent, attempt)
) STRICT, WITHOUT ROWID;
