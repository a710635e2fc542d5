-- +goose Up

-- The state of authentication: one row. version counts the changes of accounts, tokens and signing keys, by whatever
-- process; enabled_at is set once and never taken back.
CREATE TABLE auth (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    version    INTEGER NOT NULL,
    enabled_at INTEGER
);
INSERT INTO auth (id, version) VALUES (1, 1);

-- Users and robots. AUTOINCREMENT: an id never means another account, where a name may. password_hash is bcrypt's, and ''
-- for who has none; stamp counts its changes. groups is a JSON array.
CREATE TABLE accounts (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    kind          TEXT    NOT NULL CHECK (kind IN ('user', 'robot')),
    name          TEXT    NOT NULL,
    password_hash TEXT    NOT NULL,
    password_cost INTEGER NOT NULL,
    groups        TEXT    NOT NULL,
    disabled      INTEGER NOT NULL DEFAULT 0,
    stamp         INTEGER NOT NULL DEFAULT 0,
    created_at    INTEGER NOT NULL,
    UNIQUE (kind, name)
);
CREATE INDEX accounts_password_cost ON accounts (password_cost);

-- What stands for a login without a password; hash is the SHA-256 of the secret, which is nowhere. A session is nobody's
-- account: it has the identity of a CI job in itself, as JSON. cidrs is a JSON array, empty where every address may come.
CREATE TABLE auth_tokens (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    account_id INTEGER REFERENCES accounts (id) ON DELETE CASCADE,
    kind       TEXT    NOT NULL CHECK (kind IN ('personal', 'robot', 'session')),
    name       TEXT    NOT NULL,
    hash       BLOB    NOT NULL UNIQUE,
    scope      TEXT    NOT NULL,
    cidrs      TEXT    NOT NULL,
    identity   TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    used_at    INTEGER NOT NULL DEFAULT 0,
    CHECK ((account_id IS NULL) = (kind = 'session'))
);
CREATE INDEX auth_tokens_account ON auth_tokens (account_id, id) WHERE account_id IS NOT NULL;
CREATE INDEX auth_tokens_session ON auth_tokens (expires_at) WHERE account_id IS NULL;

-- Identity tokens that were exchanged for a session, which each may be once.
CREATE TABLE used_id_tokens (
    issuer     TEXT    NOT NULL,
    jti        TEXT    NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (issuer, jti)
) WITHOUT ROWID;
CREATE INDEX used_id_tokens_expires ON used_id_tokens (expires_at);

-- The keys that sign tokens, private parts included.
CREATE TABLE signing_keys (
    kid        TEXT    PRIMARY KEY,
    state      TEXT    NOT NULL CHECK (state IN ('next', 'active', 'retired')),
    pem        TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    active_at  INTEGER NOT NULL,
    retired_at INTEGER NOT NULL
) WITHOUT ROWID;
