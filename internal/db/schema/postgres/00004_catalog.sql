-- +goose Up

-- The list of repositories: one row. The transaction that lists a repository for the first time
-- raises version and writes it to the repository's row, so that versions have the order of the
-- commits and what was listed since a version can be read.
CREATE TABLE catalog (
    id      BIGINT PRIMARY KEY CHECK (id = 1),
    version BIGINT NOT NULL
);
INSERT INTO catalog (id, version) VALUES (1, 0);
