-- +goose Up

-- Nothing: PostgreSQL began with version 5, and its versions mean the same as those of SQLite.
SELECT 1;
