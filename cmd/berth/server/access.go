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

// access is the parts that only a registry with authentication has.
type access struct {
	policy *policy.Store
	logins *login.Service
	tokens *token.Issuer
	files  []*watchedFiles // the files that the parts are read from
}

// openAccess opens the parts of authentication.
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
	passwords.reload = func() error {
		if err := a.logins.Reload(); err != nil {
			return err
		}
		logNotes(context.WithoutCancel(ctx), s.log, htpasswdComplaints(a.logins))
		return nil
	}

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

// watch records the state of files before their first read. Without a path, the result is not added
// to a.files.
func (a *access) watch(setting string, paths ...string) *watchedFiles {
	w := watchFiles(setting, slices.DeleteFunc(slices.Clone(paths), func(path string) bool { return path == "" })...)
	if len(w.paths) > 0 {
		a.files = append(a.files, w)
	}
	return w
}

// issuer returns the issuer of tokens: the registry's external URL or, if it has none, a URN that
// is unique to the registry.
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

// upkeep rotates signing keys that are due and removes what has expired.
func (a *access) upkeep(ctx context.Context, log *slog.Logger) {
	if err := a.tokens.Maintain(ctx); err != nil && ctx.Err() == nil {
		log.Error("looking after keys and sessions", "error", err)
	}
}
