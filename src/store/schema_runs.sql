-- The journal of a node's runs (runs.db in its state folder), format 1. Never edited once released: later formats are further steps.
-- Times are milliseconds since 1970 and there for people: nothing is decided by them but how long an ended run is kept.
-- `checksum` is that of the row's other columns (checksum.h), and is verified whenever the row is read.

CREATE TABLE runs (
  name TEXT PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,         -- its files in the folder runs/ begin with it
  service TEXT NOT NULL,
  method TEXT NOT NULL,
  principal TEXT NOT NULL,         -- who asked first
  created_ms INTEGER NOT NULL,
  keep_s INTEGER NOT NULL,         -- how long it is kept after its last attempt's end; 0: until it is forgotten
  keep_bytes INTEGER NOT NULL,     -- how much its attempts may hold together before the oldest are dropped; 0: any
  webhook TEXT NOT NULL,           -- who is told of each attempt's end; empty: nobody
  store TEXT NOT NULL,             -- where it is kept besides; empty: nowhere
  checksum INTEGER NOT NULL
) STRICT;

CREATE TABLE attempts (
  run TEXT NOT NULL,               -- the run's id
  number INTEGER NOT NULL,         -- from 1
  state INTEGER NOT NULL,          -- journal.h, RunState
  queued_ms INTEGER NOT NULL,
  started_ms INTEGER NOT NULL,     -- 0: not yet
  ended_ms INTEGER NOT NULL,       -- 0: not yet
  code TEXT NOT NULL,              -- hash of what ran; empty: not known, so not compared
  arguments TEXT NOT NULL,         -- digest of what it ran with; empty: there is no canonical encoding, so not compared
  shown TEXT NOT NULL,             -- the arguments, cut, for people
  ending TEXT NOT NULL,            -- JSON: how it ended, if not with a value
  stored_bytes INTEGER NOT NULL,   -- of its arguments, result and output
  deadline_ms INTEGER NOT NULL,    -- from when it runs; 0: none
  kill INTEGER NOT NULL,           -- 1: its worker may be ended for it
  origin TEXT NOT NULL,            -- JSON: the cluster where it runs or ran; empty: this one
  heard_ms INTEGER NOT NULL,       -- when that last told of it
  checksum INTEGER NOT NULL,
  PRIMARY KEY (run, number)
) STRICT;

CREATE INDEX attempts_by_state ON attempts (state);

CREATE TABLE bodies (
  run TEXT NOT NULL,
  number INTEGER NOT NULL,
  kind INTEGER NOT NULL,           -- 1: arguments, 2: result, 3: code, 4: the id of its snapshot
  encoding INTEGER NOT NULL,       -- base/body.h
  parts TEXT NOT NULL,             -- JSON: their sizes
  bytes BLOB NOT NULL,             -- empty where a file has them
  file TEXT NOT NULL,              -- in the folder runs/; empty: there is none
  checksum INTEGER NOT NULL,       -- of the bytes as well, wherever they are
  PRIMARY KEY (run, number, kind)
) STRICT;
