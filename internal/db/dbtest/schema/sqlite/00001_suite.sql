-- +goose Up
CREATE TABLE parents (id INTEGER PRIMARY KEY);
CREATE TABLE items (
	id       INTEGER PRIMARY KEY,
	name     TEXT NOT NULL UNIQUE,
	size     INTEGER,
	listed   INTEGER,
	data     BLOB,
	parent   INTEGER REFERENCES parents (id),
	deferred INTEGER REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED
);
