package policy

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"

	"github.com/berth-registry/berth/auth"
)

// MaxSize is the maximum size of a policy file, in bytes.
const MaxSize = 1 << 20

// Store holds the current policy and reloads it from its file. It implements auth.Policy and is
// safe for concurrent use.
type Store struct {
	path     string // "" for the default policy, which is never reloaded
	current  atomic.Pointer[loadedPolicy]
	reloadMu sync.Mutex // held by Reload, so that older content never replaces newer
}

// loadedPolicy is a policy with the content of its file.
type loadedPolicy struct {
	policy  *Policy
	data    []byte
	version uint64
}

// Open reads the policy file at path. If path is empty, the policy is Default.
func Open(path string) (*Store, error) {
	s := &Store{path: path}
	if path == "" {
		s.current.Store(&loadedPolicy{policy: Default(), version: 1})
		return s, nil
	}
	data, policy, err := load(path)
	if err != nil {
		return nil, err
	}
	s.current.Store(&loadedPolicy{policy: policy, data: data, version: 1})
	return s, nil
}

// Reload reads the file again and reports whether its content differs from that of the current
// policy. If it cannot be read or has faults, the current policy stays and Reload returns an error.
func (s *Store) Reload() (changed bool, err error) {
	if s.path == "" {
		return false, nil
	}
	s.reloadMu.Lock()
	defer s.reloadMu.Unlock()
	data, err := read(s.path)
	if err != nil {
		return false, err
	}
	old := s.current.Load()
	if bytes.Equal(data, old.data) {
		return false, nil
	}
	policy, err := Parse(s.path, data)
	if err != nil {
		return false, err
	}
	s.current.Store(&loadedPolicy{policy: policy, data: data, version: old.version + 1})
	return true, nil
}

func load(path string) ([]byte, *Policy, error) {
	data, err := read(path)
	if err != nil {
		return nil, nil, err
	}
	policy, err := Parse(path, data)
	return data, policy, err
}

// read reads at most one byte more than MaxSize, so that Parse rejects a larger file.
func read(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("policy file: %w", err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("policy file: %w", err)
	}
	return data, nil
}

// Current returns the current policy.
func (s *Store) Current() *Policy { return s.current.Load().policy }

// Version returns a number that grows with each reload that changes the policy.
func (s *Store) Version() uint64 { return s.current.Load().version }

// Decide implements auth.Policy.
func (s *Store) Decide(id auth.Identity, from netip.Addr, p auth.Permission, repository string) auth.Decision {
	return s.Current().Decide(id, from, p, repository)
}

// View implements auth.Policy.
func (s *Store) View(id auth.Identity, from netip.Addr) auth.View { return s.Current().View(id, from) }

// AllowsAnonymous implements auth.Policy.
func (s *Store) AllowsAnonymous() bool { return s.Current().AllowsAnonymous() }

// Issuers returns the issuers of the current policy.
func (s *Store) Issuers() []auth.Issuer { return s.Current().Issuers() }
