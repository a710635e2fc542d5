-- +goose Up

-- Nothing: see 00003.
SELECT 1;
