-- One table for each kind of row (tables/rows.def), its living rows first and in order of (key, sub); the ended ones follow in the
-- order in which they ended. So a start reads what lives without stepping over years of history, and `ps -a` and pruning are ranges.
-- KIND_ended finds an ended row by its key; living rows do not pay for it.
--
-- key is a number without sign, stored with its top bit flipped so that SQLite's signed order is the right one.
-- To read one by hand: key + 9223372036854775807 + 1.
PRAGMA application_id = 1112691784; -- "BRTH"

CREATE TABLE meta (
  ended_ms INTEGER NOT NULL, key INTEGER NOT NULL, sub INTEGER NOT NULL, data BLOB NOT NULL,
  PRIMARY KEY (ended_ms, key, sub)
) WITHOUT ROWID, STRICT;
CREATE UNIQUE INDEX meta_ended ON meta (key, sub) WHERE ended_ms > 0;

CREATE TABLE job (
  ended_ms INTEGER NOT NULL, key INTEGER NOT NULL, sub INTEGER NOT NULL, data BLOB NOT NULL,
  PRIMARY KEY (ended_ms, key, sub)
) WITHOUT ROWID, STRICT;
CREATE UNIQUE INDEX job_ended ON job (key, sub) WHERE ended_ms > 0;

CREATE TABLE task (
  ended_ms INTEGER NOT NULL, key INTEGER NOT NULL, sub INTEGER NOT NULL, data BLOB NOT NULL,
  PRIMARY KEY (ended_ms, key, sub)
) WITHOUT ROWID, STRICT;
CREATE UNIQUE INDEX task_ended ON task (key, sub) WHERE ended_ms > 0;

CREATE TABLE blob (
  ended_ms INTEGER NOT NULL, key INTEGER NOT NULL, sub INTEGER NOT NULL, data BLOB NOT NULL,
  PRIMARY KEY (ended_ms, key, sub)
) WITHOUT ROWID, STRICT;
CREATE UNIQUE INDEX blob_ended ON blob (key, sub) WHERE ended_ms > 0;

CREATE TABLE node (
  ended_ms INTEGER NOT NULL, key INTEGER NOT NULL, sub INTEGER NOT NULL, data BLOB NOT NULL,
  PRIMARY KEY (ended_ms, key, sub)
) WITHOUT ROWID, STRICT;
CREATE UNIQUE INDEX node_ended ON node (key, sub) WHERE ended_ms > 0;

CREATE TABLE queue (
  ended_ms INTEGER NOT NULL, key INTEGER NOT NULL, sub INTEGER NOT NULL, data BLOB NOT NULL,
  PRIMARY KEY (ended_ms, key, sub)
) WITHOUT ROWID, STRICT;
CREATE UNIQUE INDEX queue_ended ON queue (key, sub) WHERE ended_ms > 0;

CREATE TABLE token (
  ended_ms INTEGER NOT NULL, key INTEGER NOT NULL, sub INTEGER NOT NULL, data BLOB NOT NULL,
  PRIMARY KEY (ended_ms, key, sub)
) WITHOUT ROWID, STRICT;
CREATE UNIQUE INDEX token_ended ON token (key, sub) WHERE ended_ms > 0;

-- One row for each batch that had events; events: their encoding, src/store/journal.h. time_ms is that of the batch's latest event.
CREATE TABLE journal (
  seq INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, events BLOB NOT NULL
) STRICT;

-- One row. epoch: the last leader's; seq: of the last batch.
CREATE TABLE store_state (
  id INTEGER PRIMARY KEY CHECK (id = 1), epoch INTEGER NOT NULL, seq INTEGER NOT NULL
) STRICT;
INSERT INTO store_state (id, epoch, seq) VALUES (1, 0, 0);
