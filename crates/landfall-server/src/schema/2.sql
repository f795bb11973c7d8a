-- Schema 2: attachments of chats, and lanes. Never edited once released: a change is the next file.

-- An attachment: granted until its bytes have arrived, stored until its time is over, then gone, which readers are told
-- for a while. Its key is all that a reader needs.
CREATE TABLE asset (
    asset_key    TEXT    PRIMARY KEY CHECK (length(asset_key) = 32 AND asset_key NOT GLOB '*[^0-9a-f]*'),
    account      INTEGER NOT NULL REFERENCES account (id),
    state        TEXT    NOT NULL CHECK (state IN ('granted', 'stored', 'gone')),
    -- How often other bytes were stored under this key: the name of the file that has the present ones.
    writes       INTEGER NOT NULL CHECK (writes >= 0),
    content_type TEXT    CHECK (length(content_type) BETWEEN 3 AND 255),
    size         INTEGER CHECK (size > 0),
    sha256       BLOB    CHECK (length(sha256) = 32),
    created_ms   INTEGER NOT NULL,
    -- When its state ends.
    expires_ms   INTEGER NOT NULL,
    CHECK ((state = 'stored') = (content_type IS NOT NULL)
        AND (state = 'stored') = (size IS NOT NULL)
        AND (state = 'stored') = (sha256 IS NOT NULL)),
    CHECK ((state = 'granted') = (writes = 0))
) STRICT, WITHOUT ROWID;
CREATE INDEX asset_expires ON asset (expires_ms);
CREATE INDEX asset_created ON asset (account, created_ms);

-- Attachments with files that are not theirs any more. The row goes after the files.
CREATE TABLE asset_garbage (
    asset_key TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;

-- A message. It belongs to its lane: it stays when the account that sent it is removed.
CREATE TABLE message (
    id              INTEGER PRIMARY KEY,
    lane            TEXT    NOT NULL CHECK (length(lane) = 32 AND lane NOT GLOB '*[^0-9a-f]*'),
    number          INTEGER NOT NULL CHECK (number >= 1),
    account         INTEGER REFERENCES account (id),
    idempotency_key TEXT    NOT NULL CHECK (idempotency_key <> ''),
    hash            BLOB    NOT NULL CHECK (length(hash) = 32),
    body            BLOB    NOT NULL CHECK (length(body) > 0),
    created_ms      INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX message_number ON message (lane, number);
CREATE UNIQUE INDEX message_idempotency_key ON message (lane, idempotency_key);
CREATE INDEX message_account ON message (account);

-- What the messages of an account take up, so that nobody adds them up for every new one.
CREATE TABLE message_usage (
    account INTEGER PRIMARY KEY REFERENCES account (id),
    bytes   INTEGER NOT NULL CHECK (bytes >= 0)
) STRICT;
