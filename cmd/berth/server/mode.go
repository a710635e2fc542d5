package server

import (
	"context"
	"fmt"
	"time"

	"github.com/berth-registry/berth/auth/account"
	"github.com/berth-registry/berth/auth/rows"
	"github.com/berth-registry/berth/cmd/berth/config"
	"github.com/berth-registry/berth/internal/db/schema"
)

// admission is which requests the registry accepts, as decided at the start.
type admission int

const (
	everyone     admission = iota // the registry is open
	usersOnly                     // authentication is on
	firstStart                    // authentication is on, and no account exists yet
	untilUserAdd                  // the registry is open to this machine until the first user is made
)

// open reports whether requests need no authentication.
func (a admission) open() bool { return a == everyone || a == untilUserAdd }

// decideAuth decides which requests the registry accepts. auth.mode none opens it in any case.
// Otherwise authentication is on if auth.mode, a policy or an htpasswd file asks for it, or if the
// database records that it was on before. If none of these does, it depends on the address. On
// loopback the registry is open. Beyond loopback a new registry gets a first user, but one with
// data is refused, because no setting says that others may have the data.
func (s *server) decideAuth(ctx context.Context) (admission, error) {
	a := s.cfg.Auth
	if a.Mode == config.ModeNone {
		return everyone, nil
	}
	recorded, err := s.rows.AuthEnabled(ctx)
	if err != nil {
		return 0, fmt.Errorf("asking whether authentication is on: %w", err)
	}
	switch {
	case recorded || a.WantsAuth():
		return usersOnly, nil
	case isLoopback(s.main.Listener):
		return untilUserAdd, nil
	case s.cfg.InMemory():
		return 0, errMemoryOpenToAll(s.cfg.HTTP.Addr)
	}
	empty, err := schema.Empty(ctx, s.db)
	switch {
	case err != nil:
		return 0, fmt.Errorf("asking whether the database is new: %w", err)
	case !empty:
		return 0, errOpenToAll(&s.cfg.Config)
	}
	return firstStart, nil
}

const orOpen = "to let everyone in, set auth.mode: none in the configuration file, BERTH_AUTH_MODE=none, or --auth-mode none; else listen on 127.0.0.1"

func errOpenToAll(c *config.Config) error {
	return fmt.Errorf("http.addr: %s is not a loopback address, and %s has data but no users, so everyone who can reach it could push and pull; "+
		"add a user (%s) and start again; %s", c.HTTP.Addr, c.Data, c.CommandLine("user add NAME"), orOpen)
}

func errMemoryOpenToAll(addr string) error {
	return fmt.Errorf("http.addr: %s is not a loopback address, and a registry in memory has no users, so everyone who can reach it could push and pull; "+
		"give it users by auth.htpasswd; %s", addr, orOpen)
}

// admit decides which requests the registry accepts, and opens the parts of authentication if it is
// on.
func (s *server) admit(ctx context.Context) (err error) {
	if s.admitted, err = s.decideAuth(ctx); err != nil || s.admitted.open() {
		return err
	}
	if s.access, err = s.openAccess(ctx); err != nil {
		return err
	}
	s.watcher.add(s.access.files...)
	return nil
}

// recordAuth records in the database that authentication is on, so that removing the last user does
// not open the registry. On a first start, making the first user records it.
func (s *server) recordAuth(ctx context.Context) (err error) {
	switch s.admitted {
	case firstStart:
		s.addedUser, err = account.New(s.rows, time.Now).AddFirstUser(ctx)
		return err
	case usersOnly:
		recorded, err := s.rows.AuthEnabled(ctx)
		if err == nil && !recorded {
			err = s.rows.Tx(ctx, func(tx *rows.Tx) error { return tx.EnableAuth(time.Now().UnixMicro()) })
		}
		if err != nil {
			return fmt.Errorf("recording that authentication is on: %w", err)
		}
	}
	return nil
}

// enableAuthIfUsers turns authentication on in a running registry that was open until the first
// user. An error must stop the registry: the operator who added the user expects that it is closed.
func (s *server) enableAuthIfUsers(ctx context.Context) error {
	if s.access != nil || s.admitted != untilUserAdd {
		return nil
	}
	if on, err := s.rows.AuthEnabled(ctx); err != nil || !on {
		return nil // while the database cannot be read, nobody can push or pull
	}
	err := s.admit(ctx)
	switch {
	case ctx.Err() != nil:
		return nil // the server is stopping
	case err != nil:
		return fmt.Errorf("turning authentication on: %w", err)
	}
	s.installAPI()
	s.log.Info("there are users now: authentication is on")
	return nil
}
