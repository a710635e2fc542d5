package token

import (
	"context"
	"fmt"
	"time"

	"github.com/berth-registry/berth/auth/rows"
)

// Manager is for commands that look at the keys of a registry, or change them beside its
// running server, which notices at its next request.
type Manager struct{ o Options }

// NewManager returns a Manager of the keys that an Issuer with the same options uses. It
// needs neither Issuer nor Service.
func NewManager(o Options) (*Manager, error) {
	o.Issuer, o.Service = "-", "-" // nothing is signed
	if err := o.check(); err != nil {
		return nil, err
	}
	return &Manager{o}, nil
}

// Keys returns the keys that may sign or verify: the active one first, then by age.
func (m *Manager) Keys(ctx context.Context) ([]Key, error) {
	set, err := m.read(ctx)
	if err != nil {
		return nil, err
	}
	return set.list(m.o.cycle(), m.o.Now()), nil
}

func (m *Manager) read(ctx context.Context) (*keySet, error) {
	if m.o.KeyFile != "" {
		return readFile(m.o.KeyFile)
	}
	return readKeys(ctx, m.o.Rows, &keySet{})
}

// Rotate replaces the active key and returns the keys as they are then. The new key is published
// first and signs when everyone who verifies tokens can know it; a server makes the change. With
// atOnce it signs from now on, and others refuse its tokens until they ask for the keys again.
// Errors: ErrKeyFile.
func (m *Manager) Rotate(ctx context.Context, atOnce bool) ([]Key, error) {
	return m.change(ctx, func(tx *rows.Tx, c cycle, now time.Time) error { return c.rotate(tx, now, atOnce) })
}

// Revoke removes a key: what it signed is refused from now on. If it was the active one
// another takes its place.
// Errors: ErrKeyFile, fs.ErrNotExist.
func (m *Manager) Revoke(ctx context.Context, kid string) ([]Key, error) {
	return m.change(ctx, func(tx *rows.Tx, c cycle, now time.Time) error { return c.revoke(tx, now, kid) })
}

func (m *Manager) change(ctx context.Context, f func(*rows.Tx, cycle, time.Time) error) ([]Key, error) {
	if m.o.KeyFile != "" {
		return nil, fmt.Errorf("%w (%s)", ErrKeyFile, m.o.KeyFile)
	}
	err := m.o.Rows.Tx(ctx, func(tx *rows.Tx) error { return f(tx, m.o.cycle(), m.o.Now()) })
	if err != nil {
		return nil, err
	}
	return m.Keys(ctx)
}

// CertificatePEM is the key's certificate, for the rootcertbundle of a docker-registry 2.x
// that verifies tokens with X5C.
func (k Key) CertificatePEM() string { return certificatePEM(k.Certificate) }
