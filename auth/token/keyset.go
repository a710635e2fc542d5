package token

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"time"

	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/auth/rows"
)

// State is the state of a signing key.
type State string

const (
	// Next is the state of a published key that does not sign yet, so that verifiers know it in
	// time.
	Next State = "next"
	// Active is the state of the one key that signs.
	Active State = "active"
	// Retired is the state of a key that no longer signs, but still verifies.
	Retired State = "retired"
)

// KeyInfo is the public information about a signing key. Times that are unknown are zero, as are
// all times of keys from a file.
type KeyInfo struct {
	KID         string
	State       State
	Created     time.Time
	Active      time.Time // when it began to sign; for a Next key: when it will
	Retired     time.Time // when it stopped signing
	Certificate []byte    // self-signed, in DER
}

// keyEntry is a key with the information about it.
type keyEntry struct {
	*key
	KeyInfo
}

// keySet holds the keys at one version of the rows. It is immutable.
type keySet struct {
	version auth.Version
	signer  *key
	keys    map[string]keyEntry // by kid
	ended   map[string]bool     // kids that this process knew, and that were removed at the end of their retention
}

// readKeys reads the keys from their rows. Keys of old are not parsed again: a kid identifies its
// key, since it is a digest of it.
func readKeys(ctx context.Context, db *rows.DB, old *keySet) (*keySet, error) {
	v, err := db.AuthVersion(ctx) // before the keys: a change in between then has a newer version
	if err != nil {
		return nil, err
	}
	list, err := db.SigningKeys(ctx)
	if err != nil {
		return nil, err
	}
	set := &keySet{version: auth.Version(v), keys: make(map[string]keyEntry, len(list))}
	for _, row := range list {
		k := old.keys[row.KID].key
		if k == nil {
			if k, err = keyFromRow(row); err != nil {
				return nil, err
			}
		}
		public := infoOf(row)
		public.Certificate = k.certificate
		set.keys[k.kid] = keyEntry{k, public}
		if State(row.State) == Active {
			set.signer = k
		}
	}
	return set, nil
}

func keyFromRow(row rows.SigningKey) (*key, error) {
	keys, err := parseKeys([]byte(row.PEM))
	switch {
	case err != nil:
		return nil, fmt.Errorf("the row of signing key %q: %w", row.KID, err)
	case len(keys) != 1 || keys[0].kid != row.KID:
		return nil, fmt.Errorf("the row of signing key %q holds something else", row.KID)
	}
	return keys[0], nil
}

// infoOf returns the information in a row: all but the certificate, for which the key would have to
// be parsed.
func infoOf(row rows.SigningKey) KeyInfo {
	return KeyInfo{
		KID: row.KID, State: State(row.State),
		Created: timeFromMicros(row.CreatedAt), Active: timeFromMicros(row.ActiveAt), Retired: timeFromMicros(row.RetiredAt),
	}
}

// readFile reads a key file. The first key signs. The others verify as long as they are in the
// file.
func readFile(name string) (*keySet, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("reading the signing keys: %w", err)
	}
	keys, err := parseKeys(data)
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", name, err)
	}
	// The highest version: keysAt then never reads rows.
	set := &keySet{version: math.MaxInt64, signer: keys[0], keys: make(map[string]keyEntry, len(keys))}
	for _, k := range keys {
		if _, ok := set.keys[k.kid]; ok {
			return nil, fmt.Errorf("key file %s: key %s is in it twice", name, k.kid)
		}
		state := Retired
		if k == set.signer {
			state = Active
		}
		set.keys[k.kid] = keyEntry{k, KeyInfo{KID: k.kid, State: state, Certificate: k.certificate}}
	}
	return set, nil
}

// usable returns the key with this kid if it may sign or verify now. A retired key stops to be
// usable at the end of its retention, even before its row is removed.
func (s *keySet) usable(kid string, c lifecycle, now time.Time) (keyEntry, bool) {
	m, ok := s.keys[kid]
	return m, ok && !c.ended(m.KeyInfo, now)
}

// usableKeys returns the information about the usable keys: the active one first, then by age.
func (s *keySet) usableKeys(c lifecycle, now time.Time) []KeyInfo {
	list := slices.DeleteFunc(s.infos(), func(k KeyInfo) bool { return c.ended(k, now) })
	slices.SortFunc(list, func(a, b KeyInfo) int {
		switch {
		case a.State != b.State && a.State == Active:
			return -1
		case a.State != b.State && b.State == Active:
			return 1
		case !a.Created.Equal(b.Created):
			return a.Created.Compare(b.Created)
		case a.KID < b.KID:
			return -1
		}
		return 1
	})
	return list
}

// noteEnded records which keys of an older set are gone because their retention ended. The others
// that are gone were revoked.
func (s *keySet) noteEnded(old *keySet, c lifecycle, now time.Time) {
	s.ended = maps.Clone(old.ended)
	for kid, m := range old.keys {
		if _, there := s.keys[kid]; !there && c.ended(m.KeyInfo, now) {
			if s.ended == nil {
				s.ended = make(map[string]bool)
			}
			s.ended[kid] = true
		}
	}
}

func (s *keySet) infos() []KeyInfo {
	list := make([]KeyInfo, 0, len(s.keys))
	for _, m := range s.keys {
		list = append(list, m.KeyInfo)
	}
	return list
}

var errNoKey = errors.New("no signing key is active: the next minute makes one")

// timeFromMicros converts a time of a row, in microseconds. 0 means none, which is the zero time.
func timeFromMicros(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micros)
}
