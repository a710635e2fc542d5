package postgres

import (
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/berth-registry/berth/internal/db"
)

// code returns the SQLSTATE of an error of the server, or "".
func code(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// wrapFault wraps an error of the server or of the connection in the error of package db that it
// means, and returns others unchanged.
func wrapFault(err error) error {
	if err == nil ||
		errors.Is(err, db.ErrNoSpace) || errors.Is(err, db.ErrUnavailable) || errors.Is(err, db.ErrInvalidText) {
		return err
	}
	switch code := code(err); {
	case code == "53100":
		return fmt.Errorf("%w: %w", db.ErrNoSpace, err)
	case code == "22021", code == "22P05": // a sequence of bytes, an escape in JSON
		return fmt.Errorf("%w: %w", db.ErrInvalidText, err)
	case connectionLost(err), unavailable(code):
		return fmt.Errorf("%w: %w", db.ErrUnavailable, err)
	}
	return err
}

// unavailable reports whether an error with a SQLSTATE comes from outside of the program and may
// pass.
func unavailable(code string) bool {
	if len(code) != 5 {
		return false
	}
	switch code[:2] {
	case "08", "28", "40", "53", "57", "58": // connection, login, races, resources, operator, system
		return true
	}
	switch code {
	case "25006", "25P03", "55P03": // a standby or read only, an idle transaction, a lock
		return true
	}
	return false
}

// connectionLost reports whether a connection ended with err.
func connectionLost(err error) bool {
	var lost *lostError
	return errors.As(err, &lost)
}

// mustReconnect reports whether a connection on which err happened is not used again: its server
// has become a standby, or it no longer knows what was prepared.
func mustReconnect(err error) bool {
	switch code(err) {
	case "25006", "26000":
		return true
	case "0A000":
		return staleStatement(err)
	}
	return false
}

// staleStatement reports whether a statement was prepared before a migration changed its result.
func staleStatement(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && e.Routine == "RevalidateCachedQuery"
}

// retryable reports whether a transaction that failed with err, and changed nothing, may succeed
// when it runs again. A violated constraint may be a race: what the transaction read before the
// violation had not been committed yet.
func retryable(err error) bool {
	switch code(err) {
	case "40001", "40P01", "23503", "23505", "26000":
		return true
	case "0A000":
		return staleStatement(err)
	case "25P03", "57014":
		return false
	}
	return connectionLost(err) && !isTimeout(err)
}
