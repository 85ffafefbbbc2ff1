-- What has been over for long is found by when it ended.

CREATE INDEX incidents_by_end ON incidents (tenant, resolved_ms) WHERE resolved_ms IS NOT NULL;
