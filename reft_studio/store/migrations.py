"""The schema, as a list of migrations. A released migration is never edited: a new one is added."""

from __future__ import annotations

_SETTINGS = "CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL, at TEXT NOT NULL)"

_DECISIONS = """
CREATE TABLE decisions (
  seq INTEGER PRIMARY KEY, dataset TEXT NOT NULL, row_id INTEGER NOT NULL, action TEXT NOT NULL, reason TEXT NOT NULL,
  decided_by TEXT NOT NULL, at TEXT NOT NULL, score REAL, threshold REAL, previous TEXT NOT NULL, hash TEXT NOT NULL,
  kind TEXT NOT NULL, step INTEGER NOT NULL
)"""

_JOBS = """
CREATE TABLE jobs (
  id TEXT PRIMARY KEY, kind TEXT NOT NULL, title TEXT NOT NULL, params TEXT NOT NULL, after TEXT REFERENCES jobs (id),
  state TEXT NOT NULL, position INTEGER NOT NULL, attempt INTEGER NOT NULL DEFAULT 0, created REAL NOT NULL, started REAL, finished REAL,
  worker TEXT, cancel_at REAL, blocked_by TEXT, message TEXT NOT NULL DEFAULT '', result TEXT
)"""

# What a statement rests on besides decisions: draws, overrides of the gate, whether a second name is asked for.
_RECORDS = """
CREATE TABLE records (
  seq INTEGER PRIMARY KEY, dataset TEXT NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL, recorded_by TEXT NOT NULL, at TEXT NOT NULL,
  previous TEXT NOT NULL, hash TEXT NOT NULL
)"""

# What people say of runs; their folders are sealed.
_RUN_NOTES = """
CREATE TABLE run_notes (
  run TEXT PRIMARY KEY, name TEXT NOT NULL DEFAULT '', tags TEXT NOT NULL DEFAULT '[]', note TEXT NOT NULL DEFAULT '',
  edited_by TEXT NOT NULL DEFAULT '', at TEXT NOT NULL DEFAULT ''
)"""

# Folders that are deleted, until they are gone: by number and time of change no other folder is taken for one of them.
_REMOVALS = "CREATE TABLE removals (path TEXT PRIMARY KEY, inode INTEGER NOT NULL, modified INTEGER NOT NULL)"

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        _SETTINGS,
        _DECISIONS,
        "CREATE INDEX decisions_by_row ON decisions (dataset, row_id, seq)",
        "CREATE INDEX decision_steps ON decisions (dataset, decided_by, seq) WHERE kind = 'decide' AND seq = step",
        "CREATE INDEX decision_toggles ON decisions (dataset, step, seq, kind) WHERE kind <> 'decide'",
        "CREATE INDEX decisions_by_step ON decisions (step, row_id) WHERE kind = 'decide'",
        # The last hash of each dataset, so that cutting off the newest entries is seen too.
        "CREATE TABLE chain_heads (dataset TEXT PRIMARY KEY, seq INTEGER NOT NULL, entries INTEGER NOT NULL, hash TEXT NOT NULL)",
        "CREATE TRIGGER decisions_never_change BEFORE UPDATE ON decisions BEGIN SELECT RAISE (ABORT, 'decisions are append-only'); END",
        "CREATE TRIGGER decisions_never_go BEFORE DELETE ON decisions BEGIN SELECT RAISE (ABORT, 'decisions are append-only'); END",
        _JOBS,
        "CREATE INDEX jobs_by_state ON jobs (state, position)",
    ),
    (
        _RECORDS,
        "CREATE INDEX records_by_dataset ON records (dataset, kind, seq)",
        "CREATE TABLE record_heads (dataset TEXT PRIMARY KEY, seq INTEGER NOT NULL, entries INTEGER NOT NULL, hash TEXT NOT NULL)",
        "CREATE TRIGGER records_never_change BEFORE UPDATE ON records BEGIN SELECT RAISE (ABORT, 'records are append-only'); END",
        "CREATE TRIGGER records_never_go BEFORE DELETE ON records BEGIN SELECT RAISE (ABORT, 'records are append-only'); END",
    ),
    # Whether the row's text was shown to the person who decided; NULL in entries that were made before.
    ("ALTER TABLE decisions ADD COLUMN seen INTEGER",),
    # Lanes, what a running job was asked to do, attempts that ended by themselves, and what a paused job waits for.
    (
        "ALTER TABLE jobs ADD COLUMN lane TEXT NOT NULL DEFAULT 'model'",
        "ALTER TABLE jobs ADD COLUMN wants TEXT",
        "ALTER TABLE jobs ADD COLUMN device TEXT",
        "ALTER TABLE jobs ADD COLUMN asked TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE jobs ADD COLUMN deaths INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE jobs ADD COLUMN note TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE jobs ADD COLUMN anew INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE jobs ADD COLUMN wait_at TEXT",
        "ALTER TABLE jobs ADD COLUMN wait_free INTEGER",
        "UPDATE jobs SET asked = 'cancel' WHERE cancel_at IS NOT NULL",
    ),
    (_RUN_NOTES,),
    (_REMOVALS,),
)
