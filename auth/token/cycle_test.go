package token

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/auth/rows"
	"github.com/berth-registry/berth/internal/db"
	"github.com/berth-registry/berth/internal/db/dbtest"
)

const day = 24 * time.Hour

// published returns the kids of the JWKS, in its order.
func (w *world) published() []string {
	w.t.Helper()
	data, err := w.JWKS(w.t.Context())
	w.must(err)
	var set struct{ Keys []jwk }
	w.must(json.Unmarshal(data, &set))
	var kids []string
	for _, k := range set.Keys {
		kids = append(kids, k.KID)
	}
	return kids
}

// states returns the sorted states of the rows: "active next".
func (w *world) states() string {
	w.t.Helper()
	rows, err := w.db.SigningKeys(w.t.Context())
	w.must(err)
	var states []string
	for _, row := range rows {
		states = append(states, row.State)
	}
	slices.Sort(states)
	return strings.Join(states, " ")
}

func (w *world) maintain() {
	w.t.Helper()
	w.must(w.Maintain(w.t.Context()))
}

// kidOf returns the kid in the header of a token.
func (w *world) kidOf(s Signed) string {
	w.t.Helper()
	t, _, err := jwt.NewParser().ParseUnverified(s.Text, jwt.MapClaims{})
	w.must(err)
	kid, _ := t.Header["kid"].(string)
	return kid
}

// TestRotationByAge follows a key from its first signature to its removal.
func TestRotationByAge(t *testing.T) {
	w := newWorld(t)
	lead, retention := auth.JWKSMaxAge+w.options.TTL, w.options.TTL+Leeway+w.options.UploadGrace
	first := w.signer().kid
	if got := w.published(); !slices.Equal(got, []string{first}) {
		t.Fatalf("published at first: %v", got)
	}
	w.advance(90*day - lead - time.Second)
	w.maintain()
	if w.states() != "active" {
		t.Fatalf("a moment too early: %s", w.states())
	}
	w.advance(time.Second)
	w.maintain()
	kids := w.published()
	if w.states() != "active next" || len(kids) != 2 || kids[0] != first {
		t.Fatalf("%s, published %v", w.states(), kids)
	}
	second := kids[1]
	w.advance(lead - time.Second)
	w.maintain()
	last := w.token(alice)
	if got := w.kidOf(last); got != first {
		t.Fatalf("a key signs before others can know it: %s", got)
	}
	w.advance(time.Second)
	w.maintain()
	if got := w.kidOf(w.token(alice)); got != second || w.states() != "active retired" {
		t.Fatalf("%s signs; %s", got, w.states())
	}
	w.want(last.Text, nil)
	w.advance(w.options.TTL + w.options.UploadGrace - 2*time.Second)
	w.maintain()
	w.want(last.Text, ErrExpired)
	w.advance(retention - (w.options.TTL + w.options.UploadGrace - 2*time.Second))
	if got := w.published(); !slices.Equal(got, []string{second}) {
		t.Fatalf("a key is published after its end: %v", got)
	}
	w.maintain()
	if w.states() != "active" {
		t.Fatalf("rows: %s", w.states())
	}
}

// TestRetiredKeyEnds: a key whose retention has ended verifies nothing, whether its row is removed
// or not.
func TestRetiredKeyEnds(t *testing.T) {
	w := newWorld(t)
	old := w.signer()
	_, err := w.manager().Rotate(t.Context(), true)
	w.must(err)
	fresh := func() string { return w.forgeWith(old.private, parts{"kid": old.kid}, nil) }
	w.want(fresh(), nil)
	w.advance(w.options.TTL + Leeway + w.options.UploadGrace - time.Second)
	kept := fresh()
	w.want(kept, nil)
	w.advance(time.Second)
	w.want(fresh(), ErrInvalid)
	w.want(kept, ErrInvalid)
}

// TestNoRotationByAge: with RotateAfter 0 a key is never replaced by age.
func TestNoRotationByAge(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.RotateAfter = 0 })
	w.advance(3650 * day)
	w.maintain()
	if w.states() != "active" {
		t.Errorf("after ten years: %s", w.states())
	}
}

// TestCommandsBesideAServer changes keys over another connection to the database, as a command
// does.
func TestCommandsBesideAServer(t *testing.T) {
	url := fileURL(t)
	w := &world{t: t, clock: &clock{now: time.Unix(1_800_000_000, 0)}, db: openDB(t, url)}
	w.Issuer = w.open()
	o := w.options
	o.Rows = openDB(t, url)
	command, err := NewManager(o)
	w.must(err)

	first := w.token(alice)
	w.want(first.Text, nil)
	for range 2 { // the second call changes nothing
		keys, err := command.Rotate(t.Context(), false)
		w.must(err)
		if len(keys) != 2 || keys[0].State != Active || keys[1].State != Next || !keys[1].Active.Equal(w.Now().Add(auth.JWKSMaxAge+w.options.TTL)) {
			t.Fatalf("keys: %+v", keys)
		}
		if got := w.published(); !slices.Equal(got, []string{keys[0].KID, keys[1].KID}) {
			t.Fatalf("the server publishes %v", got)
		}
	}
	next := w.published()[1]
	_, err = command.Rotate(t.Context(), true)
	w.must(err)
	second := w.token(alice)
	if got := w.kidOf(second); got != next || w.states() != "active retired" {
		t.Fatalf("%s signs, not %s; %s", got, next, w.states())
	}
	w.want(first.Text, nil)
	w.want(second.Text, nil)

	_, err = command.Revoke(t.Context(), w.kidOf(first))
	w.must(err)
	w.want(first.Text, ErrInvalid) // although it is in the cache
	w.want(second.Text, nil)
	keys, err := command.Revoke(t.Context(), next)
	w.must(err)
	w.want(second.Text, ErrInvalid)
	third := w.token(alice)
	if got := w.kidOf(third); got == next || len(keys) != 1 || keys[0].KID != got || keys[0].State != Active {
		t.Fatalf("%s signs; %+v", got, keys)
	}
	w.want(third.Text, nil)
	if _, err := command.Revoke(t.Context(), next); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("revoked twice: %v", err)
	}
}

// TestRevokeNext: to revoke the next key leaves the active one signing.
func TestRevokeNext(t *testing.T) {
	w := newWorld(t)
	m := w.manager()
	keys, err := m.Rotate(t.Context(), false)
	w.must(err)
	_, err = m.Revoke(t.Context(), keys[1].KID)
	w.must(err)
	if w.states() != "active" || w.signer().kid != keys[0].KID {
		t.Errorf("%s, %s signs", w.states(), w.signer().kid)
	}
}

// TestOneActiveKey has several processes start and rotate at the same time.
func TestOneActiveKey(t *testing.T) {
	for engine, url := range map[string]func(testing.TB) string{"sqlite": fileURL, "postgres": dbtest.Postgres} {
		t.Run(engine, func(t *testing.T) { testOneActiveKey(t, url(t)) })
	}
}

func testOneActiveKey(t *testing.T, url string) {
	w := &world{t: t, clock: &clock{now: time.Unix(1_800_000_000, 0)}, db: openDB(t, url)}
	o := Options{Rows: w.db, Issuer: "i", Service: "s", TTL: time.Minute, RotateAfter: 2 * time.Hour, Now: w.Now}
	var processes []Options
	for range 8 {
		p := o
		p.Rows = openDB(t, url)
		processes = append(processes, p)
	}
	each := func(f func(o Options) error) {
		t.Helper()
		var g sync.WaitGroup
		for _, p := range processes {
			g.Go(func() {
				if err := f(p); err != nil {
					t.Error(err)
				}
			})
		}
		g.Wait()
		if states := strings.Fields(w.states()); count(states, "active") != 1 || count(states, "next") > 1 {
			t.Fatalf("keys: %v", states)
		}
	}
	each(func(o Options) error { _, err := Open(t.Context(), o); return err })
	if w.states() != "active" {
		t.Fatalf("after the first start of several: %s", w.states())
	}
	for range 5 {
		w.advance(auth.JWKSMaxAge)
		each(func(o Options) error { _, err := Open(t.Context(), o); return err })
		for _, atOnce := range []bool{false, true} {
			each(func(o Options) error {
				m, err := NewManager(o)
				if err == nil {
					_, err = m.Rotate(t.Context(), atOnce)
				}
				return err
			})
		}
	}
}

func count(list []string, word string) int {
	return len(list) - len(slices.DeleteFunc(slices.Clone(list), func(s string) bool { return s == word }))
}

// TestRepairsRows: Maintain makes exactly one key active, whatever rows it finds. A damaged row is
// an error.
func TestRepairsRows(t *testing.T) {
	w := newWorld(t)
	second, err := newKeyRow(w.Now().Add(time.Second))
	w.must(err)
	second.State = string(Active)
	w.must(w.db.Tx(t.Context(), func(tx *rows.Tx) error { return tx.PutSigningKey(second) }))
	w.maintain()
	if w.states() != "active retired retired" {
		t.Errorf("of two: %s", w.states())
	}
	list, err := w.db.SigningKeys(w.t.Context())
	w.must(err)
	w.must(w.db.Tx(t.Context(), func(tx *rows.Tx) error {
		var errs []error
		for _, row := range list {
			errs = append(errs, tx.DeleteSigningKey(row.KID))
		}
		return errors.Join(errs...)
	}))
	if _, err := w.Sign(w.t.Context(), alice, nil); !errors.Is(err, errNoKey) {
		t.Errorf("signed without a key: %v", err)
	}
	w.maintain()
	w.token(alice)

	damaged := list[0]
	damaged.PEM = list[1].PEM
	w.must(w.db.Tx(t.Context(), func(tx *rows.Tx) error { return tx.PutSigningKey(damaged) }))
	if _, err := w.Sign(w.t.Context(), alice, nil); err == nil || !strings.Contains(err.Error(), damaged.KID) || strings.Contains(err.Error(), "PRIVATE") {
		t.Errorf("the row of another key: %v", err)
	}
}

// TestMaintainFails: an error of the database is returned, and leaves the keys as they are.
func TestMaintainFails(t *testing.T) {
	d := dbtest.Open(t, dbtest.Memory)
	w := newWorld(t, func(o *Options) { o.Rows = rows.New(d) })
	w.db = w.options.Rows
	w.advance(90 * day)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.Maintain(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	w.want(w.token(alice).Text, nil)
	w.must(d.Close())
	if _, err := w.Sign(w.t.Context(), alice, nil); !errors.Is(err, db.ErrClosed) {
		t.Errorf("signing: %v", err)
	}
	if _, err := w.Verify(w.t.Context(), "x", 1<<40); !errors.Is(err, db.ErrClosed) || errors.Is(err, ErrInvalid) {
		t.Errorf("verifying: %v", err)
	}
}

// TestRandomLives runs two servers and commands on one database, in random order, and checks these
// invariants: one key is active; a token is valid until its end, and for its upload until the grace
// is over, unless its key was revoked; no key signs before it was published for long enough, unless
// a command said at once.
func TestRandomLives(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	url := fileURL(t)
	w := &world{t: t, clock: &clock{now: time.Unix(1_800_000_000, 0)}, db: openDB(t, url)}
	shorter := func(o *Options) { o.RotateAfter = 6 * time.Hour }
	servers := []*world{{Issuer: w.open(shorter), clock: w.clock, t: t, db: w.db}, {clock: w.clock, t: t, db: openDB(t, url)}}
	servers[1].Issuer = servers[1].open(shorter)
	m := servers[1].manager()

	type issued struct {
		Signed
		kid string
	}
	var tokens []issued
	revoked := map[string]bool{}
	first := map[string]time.Time{servers[0].signer().kid: {}} // when a key was published; zero: it may sign at once
	for range 250 {
		s := servers[random.IntN(2)]
		switch random.IntN(12) {
		case 0:
			_, err := m.Rotate(t.Context(), false)
			w.must(err)
		case 1:
			keys, err := m.Rotate(t.Context(), true)
			w.must(err)
			first[keys[0].KID] = time.Time{}
		case 2:
			kids := s.published()
			kid := kids[random.IntN(len(kids))]
			active := kid == s.signer().kid
			keys, err := m.Revoke(t.Context(), kid)
			w.must(err)
			if revoked[kid] = true; active {
				first[keys[0].KID] = time.Time{}
			}
		case 3, 4, 5:
			w.advance(time.Duration(random.IntN(90)) * time.Minute)
		default:
			w.advance(time.Duration(random.IntN(300)) * time.Second)
		}
		s.maintain()
		for _, kid := range s.published() {
			if _, ok := first[kid]; !ok {
				first[kid] = w.Now()
			}
		}
		signed := s.token(alice)
		kid := s.kidOf(signed)
		if at := first[kid]; !at.IsZero() && w.Now().Sub(at) < auth.JWKSMaxAge+s.options.TTL {
			t.Fatalf("a key signs %v after it was published", w.Now().Sub(at))
		}
		tokens = append(tokens, issued{signed, kid})
		if states := strings.Fields(s.states()); count(states, "active") != 1 || count(states, "next") > 1 {
			t.Fatalf("keys: %v", states)
		}
		tokens = slices.DeleteFunc(tokens, func(i issued) bool { return w.Now().Sub(i.Expires) > 3*time.Hour })
		for _, i := range tokens {
			var want error
			switch age := w.Now().Sub(i.Expires); {
			case revoked[i.kid] || age >= s.options.UploadGrace:
				want = ErrInvalid
			case age >= Leeway:
				want = ErrExpired
			}
			if _, err := s.check(i.Text); !errors.Is(err, want) {
				t.Fatalf("a token of %s, at %v: %v, want %v", i.Expires, w.Now(), err, want)
			}
		}
	}
}

// TestRevoked distinguishes a revoked key from one whose retention ended, also after their rows are
// gone.
func TestRevoked(t *testing.T) {
	w := newWorld(t)
	ended := w.signer()
	check := func(what, kid string, want bool) {
		t.Helper()
		got, err := w.Revoked(w.t.Context(), kid, w.version())
		w.must(err)
		if got != want {
			t.Errorf("%s: revoked is %t", what, got)
		}
	}
	check("the active key", ended.kid, false)
	_, err := w.manager().Rotate(t.Context(), true)
	w.must(err)
	check("a retired key", ended.kid, false)
	w.advance(w.options.TTL + Leeway + w.options.UploadGrace)
	w.maintain()
	if w.states() != "active" {
		t.Fatalf("rows: %s", w.states())
	}
	check("a key that came to its end", ended.kid, false)
	revoked := w.signer()
	_, err = w.manager().Revoke(t.Context(), revoked.kid)
	w.must(err)
	check("a key that was revoked", revoked.kid, true)
	check("the one before it", ended.kid, false)
	check("a key that never was", "x", true)
}
