-- Schema 3: uploads to buckets, and what is known of these.
-- The item's table is made anew, because an upload has no root as a backup's items have. Runs with foreign keys off; whoever
-- runs it checks them afterwards.

CREATE TABLE item_3 (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    key            TEXT UNIQUE,
    recipe         TEXT NOT NULL,
    recipe_version INTEGER NOT NULL,
    destination    INTEGER NOT NULL REFERENCES destination (id),
    class          TEXT NOT NULL CHECK (class IN ('photo', 'video', 'message', 'upload')),
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
    CHECK ((class = 'message' OR class = 'upload') = (root IS NULL)),
    CHECK ((root IS NULL) = (path IS NULL) AND (root IS NULL) = (album IS NULL)),
    CHECK (class = 'message' OR (lane IS NULL AND waits <> 'transfer' AND state <> 'staged')),
    CHECK (class = 'message' OR class = 'upload' OR phase = 'prepare' OR digest IS NOT NULL),
    CHECK (class = 'message' OR (phase = 'publish') = (publish <> 'nothing')),
    CHECK (class = 'message' OR publish <> 'published' OR record IS NOT NULL),
    CHECK ((lane IS NULL) = (sequence IS NULL) AND (lane IS NULL) = (batch IS NULL)),
    -- A message that nobody sent is told to nobody.
    CHECK (class <> 'message' OR publish <> 'link' AND (publish = 'nothing' OR lane IS NOT NULL)),
    CHECK (waits <> 'transfer' OR phase = 'upload'),
    CHECK (state <> 'staged' OR lane IS NULL AND phase = 'publish'),
    CHECK (class <> 'upload' OR phase <> 'publish')
) STRICT;

INSERT INTO item_3 SELECT * FROM item;
-- Numbers are never given twice, not even those of items that are gone.
UPDATE sqlite_sequence SET seq = (SELECT seq FROM sqlite_sequence WHERE name = 'item') WHERE name = 'item_3';
INSERT INTO sqlite_sequence (name, seq)
    SELECT 'item_3', seq FROM sqlite_sequence
     WHERE name = 'item' AND NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'item_3');
DROP TABLE item;
ALTER TABLE item_3 RENAME TO item;

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

-- What was learned of a bucket. Everything here may be forgotten and is then found out again.
CREATE TABLE bucket (
    destination     INTEGER PRIMARY KEY REFERENCES destination (id),
    -- Endpoint, bucket and prefix: what was learned is of this place.
    place           TEXT NOT NULL,
    -- Where it turned out to be.
    region          TEXT,
    -- How far the endpoint's clock is ahead of ours.
    clock_offset_ms INTEGER NOT NULL DEFAULT 0,
    -- What vouches for parts there: an algorithm or 'signed-payload'.
    proof           TEXT,
    -- Whether it refuses to overwrite when it is asked to: what is put at once, and what is made of parts. Unknown: NULL.
    guards_put      INTEGER,
    guards_complete INTEGER
) STRICT;

CREATE TABLE upload (
    item         INTEGER PRIMARY KEY REFERENCES item (id),
    kind         TEXT NOT NULL CHECK (kind = 'file' OR kind = 'bundle'),
    -- A file, or a folder that is packed: an absolute path.
    source       BLOB NOT NULL,
    -- Where it goes: the whole key.
    object_key   TEXT NOT NULL CHECK (length(object_key) > 0),
    content_type TEXT,
    -- What is there may be replaced.
    overwrites   INTEGER NOT NULL DEFAULT 0,
    -- It is sealed on its way. The head of the sealed file has its key, wrapped by the master key of the destination.
    is_sealed    INTEGER NOT NULL DEFAULT 0,
    seal_head    BLOB CHECK (length(seal_head) = 120),
    CHECK (is_sealed = 1 OR seal_head IS NULL)
) STRICT;
CREATE INDEX upload_key ON upload (object_key);

-- Recorded sessions that were seen.
CREATE TABLE session (
    -- The folder that it lies in, and its name there.
    folder       BLOB NOT NULL,
    name         TEXT NOT NULL,
    -- Its last upload.
    item         INTEGER REFERENCES item (id),
    -- It was uploaded before it was seen here: where to, and when.
    object_key   TEXT,
    completed_at INTEGER,
    PRIMARY KEY (folder, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX session_item ON session (item) WHERE item IS NOT NULL;

-- The files of a bundle, in their order, as they were when it was prepared.
CREATE TABLE bundle_entry (
    item        INTEGER NOT NULL REFERENCES item (id),
    number      INTEGER NOT NULL,
    -- In the archive.
    name        TEXT NOT NULL,
    -- The bytes that are sent: a file of the session, or our deflated copy in the spool.
    path        BLOB NOT NULL,
    is_deflated INTEGER NOT NULL,
    size        INTEGER NOT NULL,
    stored      INTEGER NOT NULL,
    crc32       INTEGER NOT NULL,
    device      INTEGER NOT NULL,
    inode       INTEGER NOT NULL,
    modified_ns INTEGER NOT NULL,
    changed_ns  INTEGER NOT NULL,
    PRIMARY KEY (item, number)
) STRICT, WITHOUT ROWID;

-- What will exist in a bucket.
CREATE TABLE bucket_object (
    id          INTEGER PRIMARY KEY,
    item        INTEGER NOT NULL REFERENCES item (id),
    destination INTEGER NOT NULL REFERENCES destination (id),
    revision    INTEGER NOT NULL,
    object_key  TEXT NOT NULL,
    -- Drawn for this revision, and kept with the object: by it we know our own. A remote upload that we found without
    -- knowing whose it is has none.
    tag         TEXT UNIQUE CHECK (length(tag) = 32),
    size        INTEGER NOT NULL CHECK (size >= 0),
    part_size   INTEGER NOT NULL CHECK (part_size > 0),
    proof       TEXT NOT NULL CHECK (proof = 'crc64nvme' OR proof = 'crc32c' OR proof = 'sha256' OR proof = 'signed-payload'),
    -- Of the whole object, if its algorithm has one.
    checksum    BLOB,
    -- It goes there only if nothing is there.
    is_guarded  INTEGER NOT NULL,
    -- The bucket's name for the remote upload.
    upload_id   TEXT,
    -- When it was to be opened, by the bucket's clock: one that has begun before is not ours.
    opening_at  INTEGER,
    state       TEXT NOT NULL CHECK (state = 'absent' OR state = 'opening' OR state = 'open' OR state = 'completing' OR
                    state = 'stored' OR state = 'abandoning' OR state = 'abandoned'),
    CHECK (state <> 'open' OR upload_id IS NOT NULL),
    CHECK (state <> 'opening' OR opening_at IS NOT NULL),
    CHECK (tag IS NOT NULL OR state = 'abandoning' OR state = 'abandoned')
) STRICT;
CREATE INDEX bucket_object_item ON bucket_object (item);
CREATE INDEX bucket_object_abandoning ON bucket_object (destination) WHERE state = 'abandoning';

CREATE TABLE bucket_part (
    object   INTEGER NOT NULL REFERENCES bucket_object (id) ON DELETE CASCADE,
    number   INTEGER NOT NULL CHECK (number > 0),
    -- As the object's proof says.
    checksum BLOB NOT NULL,
    -- Of a sealed object: the MACs of the chunks that begin in this part.
    macs     BLOB CHECK (length(macs) % 16 = 0),
    -- The bucket's receipt.
    etag     TEXT,
    state    TEXT NOT NULL DEFAULT 'planned' CHECK (state = 'planned' OR state = 'sent' OR state = 'stored'),
    PRIMARY KEY (object, number)
) STRICT, WITHOUT ROWID;
