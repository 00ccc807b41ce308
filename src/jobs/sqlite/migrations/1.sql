-- Columns named `..._at` are milliseconds since 1970. Those named `..._until` and `due_from` are milliseconds of the
-- clock of leases (`clock.rs`).

-- One row.
CREATE TABLE meta (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    -- The start of the machine from which the clock of leases counts.
    boot TEXT NOT NULL,
    -- The number of the latest change of a job.
    changes INTEGER NOT NULL,
    -- The number of the latest take.
    takes INTEGER NOT NULL
) STRICT;
INSERT INTO meta VALUES (1, '', 0, 0);

-- The jobs in each state, and their bytes (`JobSpec::bytes`).
CREATE TABLE counts (
    state TEXT PRIMARY KEY,
    jobs INTEGER NOT NULL,
    bytes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO counts VALUES
    ('queued', 0, 0), ('running', 0, 0), ('succeeded', 0, 0), ('failed', 0, 0), ('cancelled', 0, 0), ('expired', 0, 0);

-- Clients that have jobs. A client without jobs keeps its row for as long as `served` matters for whose turn it is.
CREATE TABLE clients (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    -- Jobs in all states.
    jobs INTEGER NOT NULL DEFAULT 0,
    queued INTEGER NOT NULL DEFAULT 0,
    -- Queued jobs that have a place, so that a worker may take them.
    waiting INTEGER NOT NULL DEFAULT 0,
    running INTEGER NOT NULL DEFAULT 0,
    -- Of queued and running jobs.
    bytes INTEGER NOT NULL DEFAULT 0,
    -- The number of the latest take of one of its jobs.
    served INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX clients_waiting ON clients (running, served) WHERE waiting > 0;
CREATE INDEX clients_queued ON clients (served) WHERE queued > 0;
CREATE INDEX clients_without_jobs ON clients (served) WHERE jobs = 0;

CREATE TABLE jobs (
    -- The order of submission.
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    client INTEGER NOT NULL REFERENCES clients (id),
    state TEXT NOT NULL,
    -- -1: the job of a request, 0: normal priority, 1: low.
    rank INTEGER NOT NULL,
    -- The place of a queued job among those of its client and rank; the smallest is first. A job that goes behind the
    -- others gets the number of that change, one that goes before them minus that. NULL: it is paused, or not queued.
    place INTEGER,
    -- When a queued job that was given back gets a place.
    paused_until INTEGER,
    -- `JobSpec::bytes`, and the number of the files of the model.
    bytes INTEGER NOT NULL,
    files INTEGER NOT NULL,
    version INTEGER NOT NULL,
    -- The token of the latest attempt: the milliseconds since 1970 when it began, or more. 0 before the first.
    token INTEGER NOT NULL DEFAULT 0,
    leased_until INTEGER,
    -- The worker that took it last, for people.
    worker TEXT,
    -- How its worker has ended it, as a state. NULL: it has not ended, or something else has ended it.
    finished TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    -- Attempts that lost their worker.
    workers_lost INTEGER NOT NULL DEFAULT 0,
    memory_factor INTEGER NOT NULL DEFAULT 1,
    cancel_requested INTEGER NOT NULL DEFAULT FALSE,
    created_at INTEGER NOT NULL,
    started_at INTEGER,
    ended_at INTEGER,
    expires_at INTEGER NOT NULL,
    -- The number of the latest change, and the process that made it.
    changed INTEGER NOT NULL,
    origin INTEGER NOT NULL,
    -- JSON.
    progress TEXT,
    result TEXT,
    error TEXT,
    events TEXT NOT NULL,
    deliveries TEXT NOT NULL DEFAULT '[]'
) STRICT;
CREATE INDEX jobs_waiting ON jobs (client, rank, place) WHERE place IS NOT NULL;
CREATE INDEX jobs_paused ON jobs (paused_until) WHERE paused_until IS NOT NULL;
CREATE INDEX jobs_queued_since ON jobs (created_at) WHERE state = 'queued';
CREATE INDEX jobs_leased ON jobs (leased_until) WHERE state = 'running';
CREATE INDEX jobs_expiring ON jobs (expires_at) WHERE state <> 'running';
CREATE INDEX jobs_changed ON jobs (changed);
CREATE INDEX jobs_of_client ON jobs (client, id);
CREATE INDEX jobs_of_client_by_state ON jobs (client, state, id);

-- The part of a job that never changes. In a table of its own, so that changes of the job do not write it again.
CREATE TABLE specs (
    seq INTEGER PRIMARY KEY REFERENCES jobs (seq) ON DELETE CASCADE,
    -- JSON.
    spec TEXT NOT NULL
) STRICT;

-- All attempts, with those that do not count: what they have stored is called after their tokens.
CREATE TABLE attempts (
    job INTEGER NOT NULL REFERENCES jobs (seq) ON DELETE CASCADE,
    token INTEGER NOT NULL,
    PRIMARY KEY (job, token)
) STRICT, WITHOUT ROWID;

CREATE VIEW records AS
    SELECT jobs.*, specs.spec FROM jobs JOIN specs ON specs.seq = jobs.seq;

-- The webhooks of jobs that have ended.
CREATE TABLE deliveries (
    job INTEGER PRIMARY KEY REFERENCES jobs (seq) ON DELETE CASCADE,
    id BLOB NOT NULL,
    -- When it may be taken: at once, after a pause, or when the lease of its sender ends. NULL: not any more.
    due_from INTEGER,
    -- Increases when the webhook is taken and when the attempt ends, so that a token is valid for one attempt.
    token INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX deliveries_due ON deliveries (due_from) WHERE due_from IS NOT NULL;

-- Keys for idempotency: reserved, and later used for a job.
CREATE TABLE keys (
    number INTEGER PRIMARY KEY,
    client TEXT NOT NULL,
    path TEXT NOT NULL,
    key TEXT NOT NULL,
    -- The token of the latest reservation.
    token BLOB NOT NULL,
    reserved_until INTEGER NOT NULL,
    -- The ID of the job, and the hash of the content, once it is used.
    job BLOB,
    fingerprint BLOB,
    expires_at INTEGER,
    UNIQUE (client, path, key)
) STRICT;
CREATE INDEX keys_reserved ON keys (reserved_until) WHERE job IS NULL;
CREATE INDEX keys_used ON keys (expires_at) WHERE job IS NOT NULL;
