-- Idempotency keys, as long as the row of their job is there. No row of it ever ends.
CREATE TABLE idem (
  ended_ms INTEGER NOT NULL, key INTEGER NOT NULL, sub INTEGER NOT NULL, data BLOB NOT NULL,
  PRIMARY KEY (ended_ms, key, sub)
) WITHOUT ROWID, STRICT;
CREATE UNIQUE INDEX idem_ended ON idem (key, sub) WHERE ended_ms > 0;
