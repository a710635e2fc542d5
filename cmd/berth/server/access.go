package server

import (
	"context"
	"fmt"
	"log/slog"
	"slices"

	"github.com/berth-registry/berth/auth/login"
	"github.com/berth-registry/berth/auth/oidc"
	"github.com/berth-registry/berth/auth/policy"
	"github.com/berth-registry/berth/auth/token"
	"github.com/berth-registry/berth/internal/db/schema"
)

// access is what a registry with authentication has beside an open one.
type access struct {
	policy *policy.Store
	logins *login.Service
	tokens *token.Issuer
	files  []*watched // that it was made from
}

// openAccess puts authentication together.
func (s *server) openAccess(ctx context.Context) (*access, error) {
	c := s.cfg.Auth
	a := &access{}
	policyFile, passwords, key := a.watch("auth.policy", c.Policy), a.watch("auth.htpasswd", c.Htpasswd...), a.watch("auth.key_file", c.KeyFile)
	var err error
	if a.policy, err = policy.Open(c.Policy); err != nil {
		return nil, fmt.Errorf("auth.policy: %w", err)
	}
	policyFile.reload = func() error { _, err := a.policy.Reload(); return err }

	ci := oidc.New(oidc.Options{Issuers: a.policy.Issuers, Log: s.log})
	a.logins, err = login.New(ctx, login.Options{Rows: s.rows, Htpasswd: c.Htpasswd, CI: ci, CITokens: ci, SessionTTL: c.SessionTTL, Log: s.log})
	if err != nil {
		return nil, fmt.Errorf("auth.htpasswd: %w", err)
	}
	passwords.reload = a.logins.Reload

	issuer, err := s.issuer(ctx)
	if err != nil {
		return nil, err
	}
	a.tokens, err = token.Open(ctx, token.Options{
		Rows: s.rows, KeyFile: c.KeyFile, Issuer: issuer, Service: s.cfg.ServiceName(),
		TTL: c.TokenTTL, UploadGrace: c.UploadGrace, RotateAfter: c.KeyRotation, X5C: c.CompatX5C, Log: s.log,
	})
	if err != nil {
		return nil, fmt.Errorf("opening the token issuer: %w", err)
	}
	key.reload = a.tokens.Reload
	return a, nil
}

// watch notes files before they are read. Without a file it returns what is not watched.
func (a *access) watch(setting string, paths ...string) *watched {
	w := watchFiles(setting, slices.DeleteFunc(slices.Clone(paths), func(path string) bool { return path == "" })...)
	if len(w.paths) > 0 {
		a.files = append(a.files, w)
	}
	return w
}

// issuer is who tokens say they are from: the registry's URL, or where it has not been told one, a
// name that no other registry has.
func (s *server) issuer(ctx context.Context) (string, error) {
	if len(s.cfg.HTTP.ExternalURL) > 0 {
		return s.cfg.HTTP.ExternalURL[0], nil
	}
	id, err := schema.ReadRegistry(ctx, s.db)
	if err != nil {
		return "", fmt.Errorf("reading the registry's id: %w", err)
	}
	return "urn:berth:" + id.ID, nil
}

// upkeep moves keys on whose time has come, and forgets what has expired.
func (a *access) upkeep(ctx context.Context, log *slog.Logger) {
	if err := a.tokens.Maintain(ctx); err != nil && ctx.Err() == nil {
		log.Error("looking after keys and sessions", "error", err)
	}
}
