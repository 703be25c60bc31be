-- The store of a node (store.db in its state folder), format 1. Never edited once released: later formats are further steps.

CREATE TABLE tokens (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  hash BLOB NOT NULL UNIQUE,    -- SHA-256 of the token's text; the token itself is kept nowhere
  scope INTEGER NOT NULL,       -- daemon/principal.h
  service TEXT NOT NULL,        -- the only one that it may call; empty: all
  created_s INTEGER NOT NULL,   -- seconds since 1970, as all that follow
  expires_s INTEGER NOT NULL,   -- 0: never
  used_s INTEGER NOT NULL       -- 0: never; not exact
) STRICT;

CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;  -- "listener": what `listen` was asked for
