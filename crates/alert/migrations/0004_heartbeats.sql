-- The last signs of life of each heartbeat, as the server last noted them: at most a second behind the records of the
-- results that they caused. They follow from no record; without them a heartbeat is expected anew from the start on.

CREATE TABLE heartbeats (
    tenant   TEXT NOT NULL,
    check_id TEXT NOT NULL,
    body     TEXT NOT NULL,
    PRIMARY KEY (tenant, check_id)
) STRICT, WITHOUT ROWID;
