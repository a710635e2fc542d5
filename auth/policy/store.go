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

// MaxSize is the most bytes that a policy file may have.
const MaxSize = 1 << 20

// Store holds the policy that is in force. It implements auth.Policy, and is safe
// for concurrent use.
type Store struct {
	path    string // "": the default policy, for ever
	current atomic.Pointer[accepted]
	loading sync.Mutex // held by Reload, so that an older content never replaces a newer
}

// accepted is a file that was read without fault.
type accepted struct {
	policy  *Policy
	data    []byte
	version uint64
}

// Open reads the policy file at path. Without a path it is Default.
func Open(path string) (*Store, error) {
	s := &Store{path: path}
	if path == "" {
		s.current.Store(&accepted{policy: Default(), version: 1})
		return s, nil
	}
	data, policy, err := load(path)
	if err != nil {
		return nil, err
	}
	s.current.Store(&accepted{policy: policy, data: data, version: 1})
	return s, nil
}

// Reload reads the file again and says whether it has another content than the
// policy in force was read from. If it cannot be read, or something is wrong with
// it, the policy in force stays, and the error says what.
func (s *Store) Reload() (changed bool, err error) {
	if s.path == "" {
		return false, nil
	}
	s.loading.Lock()
	defer s.loading.Unlock()
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
	s.current.Store(&accepted{policy: policy, data: data, version: old.version + 1})
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

// read reads no more of a file than one too large has.
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

// Current is the policy in force.
func (s *Store) Current() *Policy { return s.current.Load().policy }

// Version changes with each reload that changes the policy.
func (s *Store) Version() uint64 { return s.current.Load().version }

// Decide implements auth.Policy.
func (s *Store) Decide(id auth.Identity, from netip.Addr, p auth.Permission, repository string) auth.Decision {
	return s.Current().Decide(id, from, p, repository)
}

// View implements auth.Policy.
func (s *Store) View(id auth.Identity, from netip.Addr) auth.View { return s.Current().View(id, from) }

// Anonymous implements auth.Policy.
func (s *Store) Anonymous() bool { return s.Current().Anonymous() }

// Issuers are those of the policy in force.
func (s *Store) Issuers() []auth.Issuer { return s.Current().Issuers() }
