package token

import (
	"context"
	"fmt"
	"time"

	"github.com/berth-registry/berth/auth/rows"
)

// Manager is for commands that look at the keys of a registry, or change them beside its
// running server, which notices at its next request.
type Manager struct{ options Options }

// NewManager returns a Manager of the keys that an Issuer with the same options uses. It
// needs neither Issuer nor Service.
func NewManager(o Options) (*Manager, error) {
	o.Issuer, o.Service = "-", "-" // nothing is signed
	if err := o.complete(); err != nil {
		return nil, err
	}
	return &Manager{o}, nil
}

// Keys returns the keys that may sign or verify: the active one first, then by age.
func (m *Manager) Keys(ctx context.Context) ([]KeyInfo, error) {
	set, err := m.read(ctx)
	if err != nil {
		return nil, err
	}
	return set.usableKeys(m.options.lifecycle(), m.options.Now()), nil
}

func (m *Manager) read(ctx context.Context) (*keySet, error) {
	if m.options.KeyFile != "" {
		return readFile(m.options.KeyFile)
	}
	return readKeys(ctx, m.options.Rows, &keySet{})
}

// Rotate replaces the active key and returns the keys as they are then. The new key is published
// first and signs when everyone who verifies tokens can know it; a server makes the change. With
// atOnce it signs from now on, and others refuse its tokens until they ask for the keys again.
// Errors: ErrKeyFile.
func (m *Manager) Rotate(ctx context.Context, atOnce bool) ([]KeyInfo, error) {
	return m.change(ctx, func(tx *rows.Tx, c lifecycle, now time.Time) error { return c.rotate(tx, now, atOnce) })
}

// Revoke removes a key: what it signed is refused from now on. If it was the active one
// another takes its place.
// Errors: ErrKeyFile, fs.ErrNotExist.
func (m *Manager) Revoke(ctx context.Context, kid string) ([]KeyInfo, error) {
	return m.change(ctx, func(tx *rows.Tx, c lifecycle, now time.Time) error { return c.revoke(tx, now, kid) })
}

func (m *Manager) change(ctx context.Context, f func(*rows.Tx, lifecycle, time.Time) error) ([]KeyInfo, error) {
	if m.options.KeyFile != "" {
		return nil, fmt.Errorf("%w (%s)", ErrKeyFile, m.options.KeyFile)
	}
	err := m.options.Rows.Tx(ctx, func(tx *rows.Tx) error { return f(tx, m.options.lifecycle(), m.options.Now()) })
	if err != nil {
		return nil, err
	}
	return m.Keys(ctx)
}

// CertificatePEM is the key's certificate, for the rootcertbundle of a docker-registry 2.x
// that verifies tokens with X5C.
func (k KeyInfo) CertificatePEM() string { return certificatePEM(k.Certificate) }
