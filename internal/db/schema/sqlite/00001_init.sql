-- +goose Up

-- The registry itself: one row. A marker object in the bucket holds the same id
-- and incarnation. oldest_program is the lowest schema version of a program that
-- may serve this database.
CREATE TABLE registry (
    id             INTEGER PRIMARY KEY CHECK (id = 1),
    registry_id    TEXT    NOT NULL,
    incarnation    TEXT    NOT NULL,
    oldest_program INTEGER NOT NULL
);

-- Times are microseconds since 1970, UTC.

-- A repository gets its row from the first upload on; listed_at is set by its first manifest,
-- and only then does it exist for a client.
CREATE TABLE repositories (
    id        INTEGER PRIMARY KEY,
    name      TEXT    NOT NULL UNIQUE,
    listed_at INTEGER
);
CREATE INDEX repositories_listed ON repositories (name) WHERE listed_at IS NOT NULL;

-- AUTOINCREMENT: an id that was seen once never means something else.
CREATE TABLE blobs (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    digest     TEXT    NOT NULL UNIQUE,
    size       INTEGER NOT NULL,
    damaged_at INTEGER,
    checked_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL
);

-- finished_digest is set by the commit that made the upload a blob. Such a row answers a repeated PUT for an
-- hour.
CREATE TABLE uploads (
    id              TEXT    PRIMARY KEY,
    repository_id   INTEGER NOT NULL REFERENCES repositories (id),
    owner           TEXT    NOT NULL,
    algorithm       TEXT    NOT NULL,
    size            INTEGER NOT NULL,
    hash_state      BLOB,
    next_part       INTEGER NOT NULL,
    finished_digest TEXT,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX uploads_updated ON uploads (updated_at);

-- Every object of the bucket, from before its first byte until after its last. Exactly one owner:
-- an upload, a blob, or (delete_after set) the deletion worker. size is NULL while an upload's request has
-- reserved the key and not recorded what it wrote.
CREATE TABLE objects (
    key          TEXT    PRIMARY KEY,
    upload_id    TEXT    REFERENCES uploads (id),
    blob_id      INTEGER REFERENCES blobs (id),
    seq          INTEGER NOT NULL,
    size         INTEGER,
    writer_until INTEGER,
    delete_after INTEGER,
    attempts     INTEGER NOT NULL DEFAULT 0,
    CHECK ((upload_id IS NOT NULL) + (blob_id IS NOT NULL) + (delete_after IS NOT NULL) = 1)
) WITHOUT ROWID;
CREATE INDEX objects_upload ON objects (upload_id, seq) WHERE upload_id IS NOT NULL;
CREATE INDEX objects_blob ON objects (blob_id, seq) WHERE blob_id IS NOT NULL;
CREATE INDEX objects_delete ON objects (delete_after) WHERE delete_after IS NOT NULL;

CREATE TABLE manifests (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    repository_id  INTEGER NOT NULL REFERENCES repositories (id),
    digest         TEXT    NOT NULL,
    media_type     TEXT    NOT NULL,
    artifact_type  TEXT    NOT NULL,
    subject_digest TEXT,
    annotations    TEXT    NOT NULL,
    size           INTEGER NOT NULL,
    created_at     INTEGER NOT NULL,
    payload        BLOB    NOT NULL,
    UNIQUE (repository_id, digest)
);
CREATE INDEX manifests_subject ON manifests (repository_id, subject_digest, digest) WHERE subject_digest IS NOT NULL;
CREATE INDEX manifests_subject_type ON manifests (repository_id, subject_digest, artifact_type, digest) WHERE subject_digest IS NOT NULL;

-- What a repository has, as a blob, as a manifest, or as both; with neither, what a sparse manifest waits for.
CREATE TABLE repository_contents (
    repository_id INTEGER NOT NULL REFERENCES repositories (id),
    digest        TEXT    NOT NULL,
    blob_id       INTEGER REFERENCES blobs (id),
    manifest_id   INTEGER REFERENCES manifests (id),
    size          INTEGER NOT NULL,
    touched_at    INTEGER NOT NULL,
    hidden_at     INTEGER,
    PRIMARY KEY (repository_id, digest)
) WITHOUT ROWID;
CREATE INDEX repository_contents_blob ON repository_contents (blob_id) WHERE blob_id IS NOT NULL;
CREATE INDEX repository_contents_manifest ON repository_contents (manifest_id) WHERE manifest_id IS NOT NULL;

-- child is 1 where the reference stands in an index's list of manifests.
CREATE TABLE manifest_references (
    repository_id INTEGER NOT NULL,
    manifest_id   INTEGER NOT NULL REFERENCES manifests (id),
    digest        TEXT    NOT NULL,
    child         INTEGER NOT NULL,
    PRIMARY KEY (manifest_id, digest),
    FOREIGN KEY (repository_id, digest) REFERENCES repository_contents (repository_id, digest)
) WITHOUT ROWID;
CREATE INDEX manifest_references_digest ON manifest_references (repository_id, digest);

CREATE TABLE tags (
    repository_id INTEGER NOT NULL REFERENCES repositories (id),
    name          TEXT    NOT NULL,
    manifest_id   INTEGER NOT NULL REFERENCES manifests (id),
    updated_at    INTEGER NOT NULL,
    PRIMARY KEY (repository_id, name)
) WITHOUT ROWID;
CREATE INDEX tags_manifest ON tags (manifest_id);

-- Where each tag pointed, ordered by id; digest is NULL for a deletion.
CREATE TABLE tag_history (
    id            INTEGER PRIMARY KEY,
    repository_id INTEGER NOT NULL REFERENCES repositories (id),
    name          TEXT    NOT NULL,
    digest        TEXT,
    actor         TEXT    NOT NULL,
    changed_at    INTEGER NOT NULL
);
CREATE INDEX tag_history_tag ON tag_history (repository_id, name, id);
