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

// State is what a key is used for.
type State string

const (
	// Next is published, so that others know it before it signs.
	Next State = "next"
	// Active signs. There is one.
	Active State = "active"
	// Retired verifies what it signed while it was active.
	Retired State = "retired"
)

// Key is what may be told about a signing key. Times that are not known are zero, as all
// those of keys in a file are.
type KeyInfo struct {
	KID         string
	State       State
	Created     time.Time
	Active      time.Time // since when it signs; of a Next one: from when on
	Retired     time.Time // since when it does not any more
	Certificate []byte    // of its public key, signed by itself; DER
}

// member is a key with its state.
type keyEntry struct {
	*key
	KeyInfo
}

// keySet is the keys as they were at a version of the rows. It does not change.
type keySet struct {
	version auth.Version
	signer  *key
	keys    map[string]keyEntry // by kid
	ended   map[string]bool     // kids that this process knew and that were removed at their end
}

// readKeys reads the rows. Keys that old has are not parsed again: a kid is the digest of its key.
func readKeys(ctx context.Context, db *rows.DB, old *keySet) (*keySet, error) {
	v, err := db.AuthVersion(ctx) // before the keys: what changes meanwhile has another one
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

// describe returns what is known of a row without parsing its key: all but the certificate.
func infoOf(row rows.SigningKey) KeyInfo {
	return KeyInfo{
		KID: row.KID, State: State(row.State),
		Created: timeFromMicros(row.CreatedAt), Active: timeFromMicros(row.ActiveAt), Retired: timeFromMicros(row.RetiredAt),
	}
}

// readFile reads a key file: the first key signs, the others verify for as long as they are in it.
func readFile(name string) (*keySet, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("reading the signing keys: %w", err)
	}
	keys, err := parseKeys(data)
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", name, err)
	}
	// No version of the rows is newer than this.
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

// usable returns the key that kid names, if it may sign or verify now: retired ones do not
// wait for their removal.
func (s *keySet) usable(kid string, c lifecycle, now time.Time) (keyEntry, bool) {
	m, ok := s.keys[kid]
	return m, ok && !c.ended(m.KeyInfo, now)
}

// list returns what may be told of the usable keys, the one that signs first, then by age.
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

// remember notes which keys of an older set are gone because they had come to their end, and were
// not revoked.
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

// timeOf is the time of a row, in microseconds; 0 is none.
func timeFromMicros(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micros)
}
