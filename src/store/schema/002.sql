-- Output that has left the store and is still to leave its node. No row of it ever ends.
CREATE TABLE removal (
  ended_ms INTEGER NOT NULL, key INTEGER NOT NULL, sub INTEGER NOT NULL, data BLOB NOT NULL,
  PRIMARY KEY (ended_ms, key, sub)
) WITHOUT ROWID, STRICT;
CREATE UNIQUE INDEX removal_ended ON removal (key, sub) WHERE ended_ms > 0;
