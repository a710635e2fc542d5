-- +goose Up

-- The list of repositories: one row. The transaction that lists a repository for the first time raises
-- version and writes it to the repository's row, so that versions have the order of the commits and what
-- was listed since a version can be read.
CREATE TABLE catalog (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    version INTEGER NOT NULL
);

ALTER TABLE repositories ADD COLUMN listed_version INTEGER;
UPDATE repositories SET listed_version = id WHERE listed_at IS NOT NULL;
CREATE UNIQUE INDEX repositories_listed_version ON repositories (listed_version) WHERE listed_version IS NOT NULL;

INSERT INTO catalog (id, version) SELECT 1, COALESCE(MAX(listed_version), 0) FROM repositories;
