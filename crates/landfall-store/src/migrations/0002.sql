-- Schema 2: lanes, items that are messages, and attempts that outlive a process.
-- The item's table is made anew, because what a backup needs of every row (a root, a digest) a message has not. Runs with
-- foreign keys off; whoever runs it checks them afterwards.

CREATE TABLE lane (
    id            INTEGER PRIMARY KEY,
    destination   INTEGER NOT NULL REFERENCES destination (id),
    name          TEXT NOT NULL,
    publish_order TEXT NOT NULL CHECK (publish_order = 'strict' OR publish_order = 'by-upload'),
    -- What becomes of those behind an item that is blocked.
    on_failure    TEXT NOT NULL CHECK (on_failure = 'wait' OR on_failure = 'pass'),
    -- The last ones given.
    sequence      INTEGER NOT NULL DEFAULT 0,
    batch         INTEGER NOT NULL DEFAULT 0,
    -- Of a lane whose bodies we seal ourselves: its key, sealed under the host's.
    key           BLOB,
    -- Up to where what arrived was read.
    cursor        INTEGER NOT NULL DEFAULT 0,
    UNIQUE (destination, name)
) STRICT;

CREATE TABLE item_2 (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    key            TEXT UNIQUE,
    recipe         TEXT NOT NULL,
    recipe_version INTEGER NOT NULL,
    destination    INTEGER NOT NULL REFERENCES destination (id),
    class          TEXT NOT NULL CHECK (class IN ('photo', 'video', 'message')),
    priority       INTEGER NOT NULL,
    state          TEXT NOT NULL CHECK (state = 'staged' OR state = 'active' OR state = 'paused' OR state = 'blocked' OR state = 'done' OR
                       state = 'skipped' OR state = 'cancelled'),
    phase          TEXT NOT NULL CHECK (phase = 'prepare' OR phase = 'upload' OR phase = 'publish'),
    waits          TEXT NOT NULL DEFAULT 'nothing' CHECK (waits = 'nothing' OR waits = 'until' OR waits = 'unlock' OR waits = 'token' OR
                       waits = 'item' OR waits = 'transfer'),
    not_before     INTEGER,
    waits_item     INTEGER REFERENCES item (id),
    code           TEXT,
    message        TEXT,
    publish        TEXT NOT NULL DEFAULT 'nothing' CHECK (publish = 'nothing' OR publish = 'link' OR publish = 'frozen' OR publish = 'published'),
    attempts       INTEGER NOT NULL DEFAULT 0,
    last_error     TEXT,

    root           INTEGER REFERENCES root (id),
    path           BLOB,
    album          TEXT,
    kind           TEXT NOT NULL,
    -- Which bytes: rises whenever the source is found changed.
    revision       INTEGER NOT NULL DEFAULT 1,
    size           INTEGER NOT NULL,
    device         INTEGER,
    inode          INTEGER,
    modified_ns    INTEGER,
    changed_ns     INTEGER,

    digest         BLOB CHECK (length(digest) = 64),
    file_key       BLOB CHECK (length(file_key) = 72),
    metadata       BLOB,
    metadata_header BLOB CHECK (length(metadata_header) = 24),
    no_thumbnail   INTEGER NOT NULL DEFAULT 0,
    body           BLOB,
    record         INTEGER,

    -- Where a message stands among the others of its conversation: given when it is sent.
    lane           INTEGER REFERENCES lane (id),
    sequence       INTEGER,
    batch          INTEGER,

    worker         TEXT,
    -- Who may write: rises with every claim and every release.
    generation     INTEGER NOT NULL DEFAULT 0,
    created_at     INTEGER NOT NULL,
    updated_at     INTEGER NOT NULL,
    finished_at    INTEGER,

    CHECK ((finished_at IS NOT NULL) = (state = 'done' OR state = 'skipped' OR state = 'cancelled')),
    CHECK ((not_before IS NOT NULL) = (waits = 'until')),
    CHECK ((waits_item IS NOT NULL) = (waits = 'item')),
    CHECK (waits = 'nothing' OR state = 'active'),
    CHECK ((code IS NOT NULL) = (state = 'blocked')),
    CHECK (worker IS NULL OR (state = 'active' AND waits = 'nothing')),
    CHECK ((body IS NOT NULL) = (publish = 'frozen')),
    CHECK ((class = 'message') = (root IS NULL)),
    CHECK ((root IS NULL) = (path IS NULL) AND (root IS NULL) = (album IS NULL)),
    CHECK (class = 'message' OR (lane IS NULL AND waits <> 'transfer' AND state <> 'staged')),
    CHECK (class = 'message' OR phase = 'prepare' OR digest IS NOT NULL),
    CHECK (class = 'message' OR (phase = 'publish') = (publish <> 'nothing')),
    CHECK (class = 'message' OR publish <> 'published' OR record IS NOT NULL),
    CHECK ((lane IS NULL) = (sequence IS NULL) AND (lane IS NULL) = (batch IS NULL)),
    -- A message that nobody sent is told to nobody.
    CHECK (class <> 'message' OR publish <> 'link' AND (publish = 'nothing' OR lane IS NOT NULL)),
    CHECK (waits <> 'transfer' OR phase = 'upload'),
    CHECK (state <> 'staged' OR lane IS NULL AND phase = 'publish')
) STRICT;

INSERT INTO item_2 (id, key, recipe, recipe_version, destination, class, priority, state, phase, waits, not_before, waits_item, code,
                    message, publish, attempts, last_error, root, path, album, kind, revision, size, device, inode, modified_ns,
                    changed_ns, digest, file_key, metadata, metadata_header, no_thumbnail, body, record, worker, generation,
                    created_at, updated_at, finished_at)
    SELECT id, key, recipe, recipe_version, destination, class, priority, state, phase, waits, not_before, waits_item, code,
           message, publish, attempts, last_error, root, path, album, kind, revision, size, device, inode, modified_ns,
           changed_ns, digest, file_key, metadata, metadata_header, no_thumbnail, body, record, worker, generation,
           created_at, updated_at, finished_at
      FROM item;
-- Numbers are never given twice, not even those of items that are gone.
UPDATE sqlite_sequence SET seq = (SELECT seq FROM sqlite_sequence WHERE name = 'item') WHERE name = 'item_2';
INSERT INTO sqlite_sequence (name, seq)
    SELECT 'item_2', seq FROM sqlite_sequence
     WHERE name = 'item' AND NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'item_2');
DROP TABLE item;
ALTER TABLE item_2 RENAME TO item;

-- Only rows that wait for nothing: rows that wait must not make a claim slower.
CREATE INDEX item_claim ON item (destination, class, priority, id) WHERE state = 'active' AND waits = 'nothing' AND worker IS NULL;
-- The same of messages, which are limited by their phase.
CREATE INDEX item_step ON item (destination, phase, priority, id)
    WHERE class = 'message' AND state = 'active' AND waits = 'nothing' AND worker IS NULL;
CREATE INDEX item_due ON item (not_before) WHERE waits = 'until';
CREATE INDEX item_held ON item (worker) WHERE worker IS NOT NULL;
CREATE INDEX item_after ON item (waits_item) WHERE waits = 'item';
CREATE INDEX item_unfinished ON item (destination, state) WHERE finished_at IS NULL;
-- Who stands before whom.
CREATE UNIQUE INDEX item_lane ON item (lane, sequence) WHERE lane IS NOT NULL;
CREATE INDEX item_lane_unfinished ON item (lane, sequence) WHERE lane IS NOT NULL AND finished_at IS NULL;

CREATE TABLE message (
    item            INTEGER PRIMARY KEY REFERENCES item (id),
    kind            TEXT NOT NULL CHECK (kind = 'text' OR kind = 'attachment'),
    -- Every publish of this message carries it.
    idempotency_key TEXT NOT NULL UNIQUE,
    -- How often it may have been published.
    publishes       INTEGER NOT NULL DEFAULT 0,
    -- Who shows it has a copy of its own: the local image is not needed any more.
    released        INTEGER NOT NULL DEFAULT 0,

    -- A text: sealed under the host's key if there is one.
    text            BLOB,
    text_version    INTEGER NOT NULL DEFAULT 1,
    -- The attachment that it goes with.
    goes_with       INTEGER REFERENCES item (id),

    -- An attachment. Of all that one composer staged and did not send, the last is wanted.
    composer        TEXT,
    name            TEXT,
    mime            TEXT,
    -- A picture is made smaller first; anything else goes as it is.
    is_photo        INTEGER NOT NULL DEFAULT 0,
    -- Our copy of what was handed over, and the payload: names in the spool.
    original        TEXT,
    sealed          TEXT,
    -- Which sealing: rises with every draw of keys.
    sealing         INTEGER NOT NULL DEFAULT 0,
    -- The payload's secrets, sealed under the host's key; without one they are in the memory of one process alone.
    secrets         BLOB,
    payload_size    INTEGER,
    payload_digest  BLOB CHECK (length(payload_digest) = 32),
    -- Where the payload is, once it is there.
    asset_url       TEXT,
    stored_at       INTEGER,

    CHECK ((kind = 'text') = (text IS NOT NULL)),
    CHECK ((kind = 'attachment') = (name IS NOT NULL AND mime IS NOT NULL)),
    CHECK ((payload_size IS NULL) = (payload_digest IS NULL)),
    CHECK ((asset_url IS NULL) = (stored_at IS NULL))
) STRICT;
CREATE INDEX message_goes_with ON message (goes_with) WHERE goes_with IS NOT NULL;
CREATE INDEX message_files ON message (item) WHERE original IS NOT NULL OR sealed IS NOT NULL;

-- One request to put a payload, handed to a carrier that may outlive this process.
CREATE TABLE attempt (
    -- Opaque, drawn: a late answer to another attempt is told by it.
    id          TEXT PRIMARY KEY,
    item        INTEGER NOT NULL REFERENCES item (id),
    sealing     INTEGER NOT NULL,
    -- The file it sends: kept until the carrier has let go of it.
    file        TEXT NOT NULL,
    size        INTEGER NOT NULL,
    digest      BLOB NOT NULL CHECK (length(digest) = 32),
    -- Method, URL and headers: sealed under the host's key; without one in memory alone.
    request     BLOB,
    asset_url   TEXT NOT NULL,
    deadline    INTEGER,
    state       TEXT NOT NULL CHECK (state = 'ready' OR state = 'out' OR state = 'unknown' OR state = 'unwanted' OR state = 'ended'),
    -- How it ended: 'stored', 'refused', 'expired', 'failed', 'gone'.
    outcome     TEXT,
    -- The process that carries it, if it is one of ours; empty if that is gone.
    worker      TEXT,
    -- Which of the platform's sessions has it, and the platform's own name for it there.
    session     TEXT,
    platform    TEXT,
    created_at  INTEGER NOT NULL,
    ended_at    INTEGER,
    CHECK ((state = 'ended') = (ended_at IS NOT NULL)),
    CHECK ((state = 'ended') = (outcome IS NOT NULL))
) STRICT;
-- One of them owns the outcome.
CREATE UNIQUE INDEX attempt_present ON attempt (item) WHERE state = 'ready' OR state = 'out' OR state = 'unknown';
CREATE INDEX attempt_live ON attempt (state, id) WHERE state <> 'ended';
CREATE INDEX attempt_item ON attempt (item);
