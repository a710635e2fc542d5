-- +goose Up

-- An upload names its repository, whose row comes with the first content: what never gets any
-- leaves nothing behind. Programs that look for the repository's id cannot serve this. charged is
-- who the upload counts for.
CREATE TABLE uploads_new (
    id              TEXT    PRIMARY KEY,
    repository      TEXT    NOT NULL,
    owner           TEXT    NOT NULL,
    charged         TEXT    NOT NULL,
    algorithm       TEXT    NOT NULL,
    size            INTEGER NOT NULL,
    hash_state      BLOB,
    next_part       INTEGER NOT NULL,
    finished_digest TEXT,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO uploads_new
    SELECT u.id, r.name, u.owner, u.owner, u.algorithm, u.size, u.hash_state, u.next_part, u.finished_digest, u.created_at, u.updated_at
    FROM uploads u JOIN repositories r ON r.id = u.repository_id;

-- The objects of uploads make room for a moment: a table that others refer to cannot be dropped.
CREATE TABLE objects_kept AS SELECT * FROM objects WHERE upload_id IS NOT NULL;
DELETE FROM objects WHERE upload_id IS NOT NULL;
DROP TABLE uploads;
ALTER TABLE uploads_new RENAME TO uploads;
CREATE INDEX uploads_updated ON uploads (updated_at);
-- What somebody has in progress is read from two indexes alone, hence a column that is NULL in all
-- of this one.
CREATE INDEX uploads_charged ON uploads (charged, size, next_part, finished_digest) WHERE finished_digest IS NULL;
INSERT INTO objects SELECT * FROM objects_kept;
DROP TABLE objects_kept;

-- Bytes that a request may receive, for whom they count. They are NULL where these are few, and
-- when the object is complete or given up; else they count until writer_until.
ALTER TABLE objects ADD COLUMN charged TEXT;
ALTER TABLE objects ADD COLUMN claimed INTEGER;
CREATE INDEX objects_charged ON objects (charged, writer_until, claimed) WHERE charged IS NOT NULL;

DELETE FROM repositories WHERE listed_at IS NULL
    AND NOT EXISTS (SELECT 1 FROM repository_contents c WHERE c.repository_id = repositories.id);

UPDATE registry SET oldest_program = 5;
