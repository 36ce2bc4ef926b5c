/** The ledger's tables. The file is a SQLite database that other programs may read while the server writes it. */

/** Stands in the file's header, so that no other database is taken for a ledger: "NBLC". */
export const APPLICATION_ID = 0x4e424c43;
export const SCHEMA_VERSION = 1;

/** Sums, tokens and texts of a row, in the order of the table. */
const COLUMNS = [
  ...['run', 'number', 'kind', 'started_ms', 'ended_ms', 'outcome', 'key', 'model', 'recipe', 'prices'],
  ...['prompt_tokens', 'cached_tokens', 'completion_tokens'],
  ...['prefill_joules', 'decode_joules', 'idle_joules', 'tdp_joules', 'machine_seconds'],
  ...['energy_cost', 'hardware_cost', 'carbon_grams'],
] as const;

/** `run` tells one start of a server from any other. Rows are found by the time that they began. */
export const SCHEMA = `
CREATE TABLE prices (
  id INTEGER PRIMARY KEY,
  currency TEXT NOT NULL,
  content TEXT NOT NULL UNIQUE
) STRICT;
CREATE TABLE entries (
  run INTEGER NOT NULL,
  number INTEGER NOT NULL,
  kind TEXT NOT NULL,
  started_ms INTEGER NOT NULL,
  ended_ms INTEGER,
  outcome TEXT NOT NULL,
  key TEXT NOT NULL,
  model TEXT NOT NULL,
  recipe TEXT NOT NULL,
  prices INTEGER REFERENCES prices (id),
  prompt_tokens INTEGER NOT NULL,
  cached_tokens INTEGER NOT NULL,
  completion_tokens INTEGER NOT NULL,
  prefill_joules REAL NOT NULL,
  decode_joules REAL NOT NULL,
  idle_joules REAL NOT NULL,
  tdp_joules REAL NOT NULL,
  machine_seconds REAL NOT NULL,
  energy_cost REAL NOT NULL,
  hardware_cost REAL NOT NULL,
  carbon_grams REAL NOT NULL,
  PRIMARY KEY (run, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX entries_by_time ON entries (started_ms);
PRAGMA application_id = ${APPLICATION_ID};
PRAGMA user_version = ${SCHEMA_VERSION};
`;

export const UPSERT = `
INSERT INTO entries (${COLUMNS.join(', ')}) VALUES (${COLUMNS.map(() => '?').join(', ')})
ON CONFLICT (run, number) DO UPDATE SET
  ${COLUMNS.slice(4)
    .map((name) => `${name} = excluded.${name}`)
    .join(', ')}`;
