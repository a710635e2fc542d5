package token

import (
	"context"
	"fmt"
	"time"

	"github.com/berth-registry/berth/auth/rows"
)

// Manager lists and changes the keys of a registry, for commands. A running server sees the changes
// at its next request.
type Manager struct{ options Options }

// NewManager returns a Manager of the keys that an Issuer with the same options uses.
// Options.Issuer and Options.Service are not needed.
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

// Rotate replaces the active key and returns the keys after that. The new key is published first.
// When all verifiers have had time to fetch it, a server makes it active. With atOnce it is active
// immediately, and other services refuse its tokens until they fetch the keys again.
//
// Errors: ErrKeyFile.
func (m *Manager) Rotate(ctx context.Context, atOnce bool) ([]KeyInfo, error) {
	return m.change(ctx, func(tx *rows.Tx, c lifecycle, now time.Time) error { return c.rotate(tx, now, atOnce) })
}

// Revoke removes a key and returns the keys after that. All tokens that it signed are refused from
// now on. If it was the active key another becomes active.
//
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

// CertificatePEM returns the key's certificate in PEM, for the rootcertbundle of a docker-registry
// 2.x that verifies tokens with X5C.
func (k KeyInfo) CertificatePEM() string { return certificatePEM(k.Certificate) }
