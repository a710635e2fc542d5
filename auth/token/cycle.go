package token

import (
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/auth/rows"
)

// lifecycle holds the durations that move a key from state to state. The methods that take a
// transaction leave exactly one active key, whatever rows they find.
type lifecycle struct {
	leadTime    time.Duration // from the publication of a key to its first signature
	retention   time.Duration // how long a retired key still verifies
	rotateAfter time.Duration // how long a key signs; 0 means until a command replaces it
}

func (o *Options) lifecycle() lifecycle {
	return lifecycle{
		leadTime: auth.KeyLeadTime(o.TTL),
		// The life of the last token, the tolerance of clocks, and the upload grace.
		retention:   o.TTL + Leeway + o.UploadGrace,
		rotateAfter: o.RotateAfter,
	}
}

func (c lifecycle) check() error {
	if c.rotateAfter != 0 && c.rotateAfter < c.leadTime {
		return fmt.Errorf("signing keys cannot be rotated every %v: the next one is published %v before it signs (0: only by command)", c.rotateAfter, c.leadTime)
	}
	return nil
}

// ended reports whether a retired key has come to the end of its retention.
func (c lifecycle) ended(k KeyInfo, now time.Time) bool {
	return k.State == Retired && !k.Retired.IsZero() && !now.Before(k.Retired.Add(c.retention))
}

// due reports whether advance would change a key.
func (c lifecycle) due(keys []KeyInfo, now time.Time) bool {
	active, next := inState(keys, Active), inState(keys, Next)
	return slices.ContainsFunc(keys, func(k KeyInfo) bool { return c.ended(k, now) }) ||
		len(active) != 1 || c.ready(next, now) || len(next) == 0 && c.needsSuccessor(active[0], now)
}

// ready reports whether the next key may become active.
func (c lifecycle) ready(next []KeyInfo, now time.Time) bool {
	return len(next) > 0 && !now.Before(next[0].Active)
}

// needsSuccessor reports whether it is time to publish the successor of the active key.
func (c lifecycle) needsSuccessor(active KeyInfo, now time.Time) bool {
	return c.rotateAfter > 0 && !now.Before(active.Active.Add(c.rotateAfter-c.leadTime))
}

func inState(keys []KeyInfo, s State) []KeyInfo {
	return slices.DeleteFunc(slices.Clone(keys), func(k KeyInfo) bool { return k.State != s })
}

// advance makes all changes of state that are due.
func (c lifecycle) advance(tx *rows.Tx, now time.Time) error {
	keys, err := keysOf(tx)
	if err != nil {
		return err
	}
	for _, k := range keys {
		if c.ended(k, now) {
			if err := tx.DeleteSigningKey(k.KID); err != nil {
				return err
			}
		}
	}
	active, next := inState(keys, Active), inState(keys, Next)
	switch {
	case len(active) != 1 || c.ready(next, now):
		return activate(tx, now)
	case len(next) == 0 && c.needsSuccessor(active[0], now):
		return c.publish(tx, now)
	}
	return nil
}

// rotate replaces the active key: at once, or when the next key has been published for long enough.
// In the latter case it does nothing if there is a next key already.
func (c lifecycle) rotate(tx *rows.Tx, now time.Time, atOnce bool) error {
	keys, err := keysOf(tx)
	if err != nil {
		return err
	}
	switch {
	case atOnce || len(inState(keys, Active)) != 1:
		return activate(tx, now)
	case len(inState(keys, Next)) == 0:
		return c.publish(tx, now)
	}
	return nil
}

// revoke removes a key. If it was the active one another becomes active. It returns fs.ErrNotExist
// if there is no such key.
func (c lifecycle) revoke(tx *rows.Tx, now time.Time, kid string) error {
	keys, err := keysOf(tx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(keys, func(k KeyInfo) bool { return k.KID == kid }) {
		return fs.ErrNotExist
	}
	if err := tx.DeleteSigningKey(kid); err != nil {
		return err
	}
	keys = slices.DeleteFunc(keys, func(k KeyInfo) bool { return k.KID == kid })
	if len(inState(keys, Active)) != 1 {
		return activate(tx, now)
	}
	return nil
}

// publish adds a key in the state Next.
func (c lifecycle) publish(tx *rows.Tx, now time.Time) error {
	row, err := newKeyRow(now)
	if err != nil {
		return err
	}
	row.State, row.ActiveAt = string(Next), now.Add(c.leadTime).UnixMicro()
	return tx.PutSigningKey(row)
}

// activate retires the active key, and makes the oldest next key active, or a new one.
func activate(tx *rows.Tx, now time.Time) error {
	list, err := tx.SigningKeys()
	if err != nil {
		return err
	}
	for _, row := range list {
		if State(row.State) == Active {
			row.State, row.RetiredAt = string(Retired), now.UnixMicro()
			if err := tx.PutSigningKey(row); err != nil {
				return err
			}
		}
	}
	at := slices.IndexFunc(list, func(row rows.SigningKey) bool { return State(row.State) == Next })
	var row rows.SigningKey
	if at >= 0 {
		row = list[at]
	} else if row, err = newKeyRow(now); err != nil {
		return err
	}
	row.State, row.ActiveAt = string(Active), now.UnixMicro()
	return tx.PutSigningKey(row)
}

// newKeyRow returns a row with a new key. The caller sets its state.
func newKeyRow(now time.Time) (rows.SigningKey, error) {
	k, err := generateKey()
	if err != nil {
		return rows.SigningKey{}, err
	}
	text, err := k.encode()
	return rows.SigningKey{KID: k.kid, PEM: text, CreatedAt: now.UnixMicro()}, err
}

// keysOf returns the keys of all rows, without parsing them.
func keysOf(tx *rows.Tx) ([]KeyInfo, error) {
	list, err := tx.SigningKeys()
	if err != nil {
		return nil, err
	}
	keys := make([]KeyInfo, len(list))
	for i, row := range list {
		keys[i] = infoOf(row)
	}
	return keys, nil
}
