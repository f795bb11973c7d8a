-- Schema 1. Never edited once released: a change is the next file.

-- The vault's own name, one row.
CREATE TABLE vault (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    name       TEXT    NOT NULL CHECK (length(name) = 32),
    created_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE account (
    -- The number of a removed account is never given to another.
    id            INTEGER PRIMARY KEY AUTOINCREMENT CHECK (id > 0),
    name          TEXT    NOT NULL UNIQUE CHECK (name <> ''),
    -- The last `updation_time` given out in this account. Only rises.
    updation_time INTEGER NOT NULL DEFAULT 0 CHECK (updation_time >= 0),
    created_ms    INTEGER NOT NULL
) STRICT;

-- Tokens are known by their SHA-256 alone.
CREATE TABLE token (
    hash       BLOB    PRIMARY KEY CHECK (length(hash) = 32),
    account    INTEGER NOT NULL REFERENCES account (id),
    created_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE key_attributes (
    account INTEGER PRIMARY KEY REFERENCES account (id),
    version INTEGER NOT NULL CHECK (version >= 1),
    kek_salt BLOB NOT NULL CHECK (length(kek_salt) = 16),
    mem_limit INTEGER NOT NULL CHECK (mem_limit > 0),
    ops_limit INTEGER NOT NULL CHECK (ops_limit > 0),
    encrypted_key BLOB NOT NULL CHECK (length(encrypted_key) = 48),
    key_nonce BLOB NOT NULL CHECK (length(key_nonce) = 24),
    master_key_by_recovery BLOB NOT NULL CHECK (length(master_key_by_recovery) = 48),
    master_key_by_recovery_nonce BLOB NOT NULL CHECK (length(master_key_by_recovery_nonce) = 24),
    recovery_key_by_master BLOB NOT NULL CHECK (length(recovery_key_by_master) = 48),
    recovery_key_by_master_nonce BLOB NOT NULL CHECK (length(recovery_key_by_master_nonce) = 24)
) STRICT;

CREATE TABLE collection (
    id             INTEGER PRIMARY KEY CHECK (id > 0),
    account        INTEGER NOT NULL REFERENCES account (id),
    encrypted_key  BLOB    NOT NULL CHECK (length(encrypted_key) = 48),
    key_nonce      BLOB    NOT NULL CHECK (length(key_nonce) = 24),
    encrypted_name BLOB    NOT NULL,
    name_nonce     BLOB    NOT NULL CHECK (length(name_nonce) = 24),
    kind           TEXT    NOT NULL CHECK (kind IN ('album', 'folder', 'favorites', 'uncategorized')),
    name_tag       BLOB    CHECK (length(name_tag) BETWEEN 1 AND 64),
    updation_time  INTEGER NOT NULL CHECK (updation_time > 0)
) STRICT;
CREATE UNIQUE INDEX collection_updation_time ON collection (account, updation_time);
CREATE UNIQUE INDEX collection_name_tag ON collection (account, name_tag) WHERE name_tag IS NOT NULL;

-- A removed file stays as a row without its sealed texts, so that every reader of the diff hears of it.
CREATE TABLE file (
    id               INTEGER PRIMARY KEY CHECK (id > 0),
    account          INTEGER NOT NULL REFERENCES account (id),
    collection       INTEGER NOT NULL REFERENCES collection (id),
    updation_time    INTEGER NOT NULL CHECK (updation_time > 0),
    is_deleted       INTEGER NOT NULL DEFAULT 0 CHECK (is_deleted IN (0, 1)),
    -- SHA-256 of the body it was registered with: tells a replay from a contradiction.
    body_hash        BLOB    NOT NULL CHECK (length(body_hash) = 32),
    encrypted_key    BLOB    NOT NULL,
    key_nonce        BLOB    NOT NULL,
    file_key         TEXT    NOT NULL,
    file_header      BLOB    NOT NULL,
    file_size        INTEGER NOT NULL CHECK (file_size > 0),
    thumbnail_key    TEXT    NOT NULL,
    thumbnail_header BLOB    NOT NULL,
    thumbnail_size   INTEGER NOT NULL CHECK (thumbnail_size > 0),
    metadata         BLOB    NOT NULL,
    metadata_header  BLOB    NOT NULL,
    public_version   INTEGER,
    public_count     INTEGER,
    public_data      BLOB,
    public_header    BLOB,
    magic_version    INTEGER,
    magic_count      INTEGER,
    magic_data       BLOB,
    magic_header     BLOB,
    content_tag      BLOB,
    CHECK (file_key <> thumbnail_key),
    CHECK (CASE is_deleted
        WHEN 0 THEN length(encrypted_key) = 48 AND length(key_nonce) = 24 AND length(file_header) = 24
            AND length(thumbnail_header) = 24 AND length(metadata_header) = 24
            AND (content_tag IS NULL OR length(content_tag) = 32)
        ELSE length(encrypted_key) = 0 AND length(metadata) = 0 AND public_version IS NULL AND magic_version IS NULL
            AND content_tag IS NULL
        END),
    CHECK ((public_version IS NULL) = (public_count IS NULL)
        AND (public_version IS NULL) = (public_data IS NULL)
        AND (public_version IS NULL) = (public_header IS NULL)),
    CHECK ((magic_version IS NULL) = (magic_count IS NULL)
        AND (magic_version IS NULL) = (magic_data IS NULL)
        AND (magic_version IS NULL) = (magic_header IS NULL)),
    CHECK (public_version IS NULL OR (public_version >= 1 AND length(public_header) = 24)),
    CHECK (magic_version IS NULL OR (magic_version >= 1 AND length(magic_header) = 24))
) STRICT;
CREATE UNIQUE INDEX file_updation_time ON file (account, updation_time);
CREATE UNIQUE INDEX file_file_key ON file (account, file_key);
CREATE UNIQUE INDEX file_thumbnail_key ON file (account, thumbnail_key);
CREATE UNIQUE INDEX file_content_tag ON file (account, content_tag) WHERE content_tag IS NOT NULL AND is_deleted = 0;

-- An object: open while it takes parts, then stored, then in use by the file it was registered with.
CREATE TABLE upload (
    account    INTEGER NOT NULL REFERENCES account (id),
    object_key TEXT    NOT NULL CHECK (length(object_key) = 32 AND object_key NOT GLOB '*[^0-9a-f]*'),
    size       INTEGER NOT NULL CHECK (size > 0),
    part_size  INTEGER NOT NULL CHECK (part_size > 0),
    part_count INTEGER NOT NULL CHECK (part_count BETWEEN 1 AND 10000),
    state      TEXT    NOT NULL CHECK (state IN ('open', 'stored')),
    file       INTEGER REFERENCES file (id),
    touched_ms INTEGER NOT NULL,
    PRIMARY KEY (account, object_key),
    CHECK (part_count = (size + part_size - 1) / part_size),
    CHECK (file IS NULL OR state = 'stored')
) STRICT, WITHOUT ROWID;
CREATE INDEX upload_open ON upload (touched_ms) WHERE state = 'open';
CREATE INDEX upload_unregistered ON upload (touched_ms) WHERE state = 'stored' AND file IS NULL;

-- A part whose bytes are durable in `blobs/`.
CREATE TABLE part (
    account    INTEGER NOT NULL,
    object_key TEXT    NOT NULL,
    number     INTEGER NOT NULL CHECK (number BETWEEN 1 AND 10000),
    length     INTEGER NOT NULL CHECK (length > 0),
    crc32c     INTEGER NOT NULL CHECK (crc32c BETWEEN 0 AND 4294967295),
    PRIMARY KEY (account, object_key, number),
    FOREIGN KEY (account, object_key) REFERENCES upload (account, object_key) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

-- Keys that were abandoned, known here or not: a request to open one that was under way then must not bring it back.
CREATE TABLE abandoned (
    account    INTEGER NOT NULL,
    object_key TEXT    NOT NULL,
    since_ms   INTEGER NOT NULL,
    PRIMARY KEY (account, object_key)
) STRICT, WITHOUT ROWID;
CREATE INDEX abandoned_since ON abandoned (since_ms);

-- Objects whose files are to be removed. The row goes after the files.
CREATE TABLE garbage (
    account    INTEGER NOT NULL,
    object_key TEXT    NOT NULL,
    since_ms   INTEGER NOT NULL,
    PRIMARY KEY (account, object_key)
) STRICT, WITHOUT ROWID;

-- Who may do work that only one process at a time should do.
CREATE TABLE lease (
    name       TEXT    PRIMARY KEY,
    owner      TEXT,
    generation INTEGER NOT NULL CHECK (generation >= 0),
    beat       INTEGER NOT NULL CHECK (beat >= 0)
) STRICT, WITHOUT ROWID;
INSERT INTO lease (name, owner, generation, beat) VALUES ('maintenance', NULL, 0, 0);
