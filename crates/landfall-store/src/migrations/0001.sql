-- Schema 1. CHECK constraints repeat the state machine of `landfall-core`; a row that breaks one is a bug, not data.
-- They are chains of OR, since for a list of more than two SQLite builds a table each time a row is written.

CREATE TABLE worker (
    id   TEXT PRIMARY KEY,
    pid  INTEGER NOT NULL,
    beat INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE TABLE destination (
    id          INTEGER PRIMARY KEY,
    -- 'default', 'dir:<path>' or 'url:<origin>'. The default vault has no path, so that a home may move.
    location    TEXT NOT NULL UNIQUE,
    -- The vault's own name: a folder that was replaced by another vault is noticed.
    vault       TEXT,
    -- Everything the vault said up to here is in `record` and `seen`.
    cursor      INTEGER NOT NULL DEFAULT 0,
    -- Seals file keys at rest; wrapped by the master key (24-byte nonce, 48 bytes).
    journal_key BLOB CHECK (length(journal_key) = 72),
    -- The account's key attributes as the vault gave them, every key in them wrapped.
    attributes  BLOB,
    -- An account's token, sealed under the journal key.
    token       BLOB
) STRICT;

CREATE TABLE collection (
    destination   INTEGER NOT NULL REFERENCES destination (id),
    id            INTEGER NOT NULL,
    name          TEXT NOT NULL,
    encrypted_key BLOB NOT NULL CHECK (length(encrypted_key) = 48),
    nonce         BLOB NOT NULL CHECK (length(nonce) = 24),
    PRIMARY KEY (destination, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE root (
    id          INTEGER PRIMARY KEY,
    destination INTEGER NOT NULL REFERENCES destination (id),
    path        BLOB NOT NULL,
    name        BLOB NOT NULL,
    tag         BLOB NOT NULL CHECK (length(tag) = 8),
    UNIQUE (destination, path)
) STRICT;

CREATE TABLE item (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    key            TEXT UNIQUE,
    recipe         TEXT NOT NULL,
    recipe_version INTEGER NOT NULL,
    destination    INTEGER NOT NULL REFERENCES destination (id),
    class          TEXT NOT NULL CHECK (class IN ('photo', 'video')),
    priority       INTEGER NOT NULL,
    state          TEXT NOT NULL CHECK (state = 'staged' OR state = 'active' OR state = 'paused' OR state = 'blocked' OR state = 'done' OR
                       state = 'skipped' OR state = 'cancelled'),
    phase          TEXT NOT NULL CHECK (phase = 'prepare' OR phase = 'upload' OR phase = 'publish'),
    waits          TEXT NOT NULL DEFAULT 'nothing' CHECK (waits = 'nothing' OR waits = 'until' OR waits = 'unlock' OR waits = 'token' OR waits = 'item'),
    not_before     INTEGER,
    waits_item     INTEGER REFERENCES item (id),
    code           TEXT,
    message        TEXT,
    publish        TEXT NOT NULL DEFAULT 'nothing' CHECK (publish = 'nothing' OR publish = 'link' OR publish = 'frozen' OR publish = 'published'),
    attempts       INTEGER NOT NULL DEFAULT 0,
    last_error     TEXT,

    root           INTEGER NOT NULL REFERENCES root (id),
    path           BLOB NOT NULL,
    album          TEXT NOT NULL,
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
    CHECK (phase = 'prepare' OR digest IS NOT NULL),
    CHECK ((phase = 'publish') = (publish <> 'nothing')),
    CHECK ((body IS NOT NULL) = (publish = 'frozen')),
    CHECK (publish <> 'published' OR record IS NOT NULL)
) STRICT;

-- Only rows that wait for nothing: rows that wait must not make a claim slower.
CREATE INDEX item_claim ON item (destination, class, priority, id) WHERE state = 'active' AND waits = 'nothing' AND worker IS NULL;
CREATE INDEX item_due ON item (not_before) WHERE waits = 'until';
CREATE INDEX item_held ON item (worker) WHERE worker IS NOT NULL;
CREATE INDEX item_after ON item (waits_item) WHERE waits = 'item';
CREATE INDEX item_unfinished ON item (destination, state) WHERE finished_at IS NULL;

CREATE TABLE place (
    root        INTEGER NOT NULL REFERENCES root (id),
    path        BLOB NOT NULL,
    -- As it was when its content was last known to be in the vault.
    size        INTEGER,
    device      INTEGER,
    inode       INTEGER,
    modified_ns INTEGER,
    changed_ns  INTEGER,
    digest      BLOB CHECK (length(digest) = 64),
    -- Or why it was not taken.
    skipped     TEXT,
    -- The item that is seeing to it.
    item        INTEGER REFERENCES item (id),
    -- The highest that any item was to give it in the vault: also one that was cancelled may have reached it.
    version     INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (root, path),
    CHECK ((digest IS NULL AND skipped IS NULL) = (size IS NULL)),
    CHECK (digest IS NULL OR skipped IS NULL)
) STRICT, WITHOUT ROWID;
CREATE INDEX place_item ON place (item) WHERE item IS NOT NULL;
CREATE INDEX place_digest ON place (digest) WHERE digest IS NOT NULL;

CREATE TABLE object (
    id          INTEGER PRIMARY KEY,
    item        INTEGER NOT NULL REFERENCES item (id),
    destination INTEGER NOT NULL REFERENCES destination (id),
    role        TEXT NOT NULL CHECK (role IN ('thumbnail', 'file')),
    revision    INTEGER NOT NULL,
    -- Which remote upload of the same ciphertext.
    incarnation INTEGER NOT NULL DEFAULT 1,
    object_key  TEXT NOT NULL UNIQUE CHECK (length(object_key) = 32),
    header      BLOB NOT NULL CHECK (length(header) = 24),
    plain_size  INTEGER NOT NULL,
    size        INTEGER NOT NULL CHECK (size > 0),
    part_size   INTEGER NOT NULL CHECK (part_size > 0),
    -- A thumbnail's ciphertext, until the remote has it. A file's is never kept.
    sealed      BLOB,
    state       TEXT NOT NULL CHECK (state = 'absent' OR state = 'opening' OR state = 'open' OR state = 'completing' OR
                       state = 'stored' OR state = 'abandoning' OR state = 'abandoned'),
    CHECK (sealed IS NULL OR role = 'thumbnail')
) STRICT;

CREATE INDEX object_item ON object (item);
CREATE INDEX object_abandoning ON object (destination) WHERE state = 'abandoning';

CREATE TABLE part (
    object INTEGER NOT NULL REFERENCES object (id) ON DELETE CASCADE,
    number INTEGER NOT NULL CHECK (number > 0),
    crc32c INTEGER NOT NULL,
    -- The 16-byte MAC of every chunk: the saved state of the cipher.
    macs   BLOB NOT NULL CHECK (length(macs) > 0 AND length(macs) % 16 = 0),
    state  TEXT NOT NULL DEFAULT 'planned' CHECK (state = 'planned' OR state = 'sent' OR state = 'stored'),
    PRIMARY KEY (object, number)
) STRICT, WITHOUT ROWID;

-- Who brings a content: one row per digest, and either a record of the vault or the item that is at it.
CREATE TABLE content (
    destination INTEGER NOT NULL REFERENCES destination (id),
    digest      BLOB NOT NULL CHECK (length(digest) = 64),
    item        INTEGER REFERENCES item (id),
    record      INTEGER,
    PRIMARY KEY (destination, digest),
    CHECK (item IS NOT NULL OR record IS NOT NULL)
) STRICT, WITHOUT ROWID;

-- Places as the vault knows them.
CREATE TABLE seen (
    destination INTEGER NOT NULL REFERENCES destination (id),
    tag         BLOB NOT NULL,
    path        BLOB NOT NULL,
    record      INTEGER NOT NULL,
    modified_ns INTEGER NOT NULL,
    version     INTEGER NOT NULL,
    PRIMARY KEY (destination, tag, path, record)
) STRICT, WITHOUT ROWID;
CREATE INDEX seen_record ON seen (destination, record);

CREATE TABLE event (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    at     INTEGER NOT NULL,
    item   INTEGER NOT NULL,
    kind   TEXT NOT NULL,
    detail TEXT
) STRICT;
CREATE INDEX event_item ON event (item);
