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

// admission is who is let in, as it was decided at the start.
type admission int

const (
	everyone     admission = iota // an open registry
	usersOnly                     // authentication is on
	firstStart                    // it is on, and there is no account yet that could log in
	untilUserAdd                  // an open registry on loopback, until the first user is made
)

// open reports whether requests are not authenticated.
func (a admission) open() bool { return a == everyone || a == untilUserAdd }

// decideAuth decides who is let in. auth.mode none opens the registry, whatever was before. Else
// authentication is on where anything asks for it: auth.mode, a policy, an htpasswd file, or the
// database, which keeps in mind that it once was on. Where nothing does, the registry is open to
// this machine; beyond it, a new one begins with a user, and one with data is refused, since no
// setting says that everyone may have them.
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
	case recorded || a.Mode == config.ModeBerth || a.Policy != "" || len(a.Htpasswd) > 0:
		return usersOnly, nil
	case s.onLoopback():
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

// admit decides who is let in, and puts authentication together where it is on.
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

// recordAuth writes down that authentication is on, so that removing the last user does not open
// the registry. On a first start it does so by making the first user.
func (s *server) recordAuth(ctx context.Context) (err error) {
	switch s.admitted {
	case firstStart:
		s.password, err = account.New(s.rows, time.Now).AddFirstUser(ctx)
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

// closeIfUsers turns authentication on in a running registry that was open until there would be a
// user. Where that fails the registry must not go on: the operator who added the user expects it to
// be closed.
func (s *server) closeIfUsers(ctx context.Context) error {
	if s.access != nil || s.admitted != untilUserAdd {
		return nil
	}
	if on, err := s.rows.AuthEnabled(ctx); err != nil || !on {
		return nil // a database that cannot be read now lets nobody push or pull either
	}
	err := s.admit(ctx)
	switch {
	case ctx.Err() != nil:
		return nil // the server stops
	case err != nil:
		return fmt.Errorf("turning authentication on: %w", err)
	}
	s.showAPI()
	s.log.Info("there are users now: authentication is on")
	return nil
}
