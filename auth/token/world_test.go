package token

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/auth/rows"
	"github.com/berth-registry/berth/internal/db/dbtest"
)

// clock is a clock that moves only by advance.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// world is an Issuer with its own database and clock.
type world struct {
	*Issuer
	*clock
	t  testing.TB
	db *rows.DB
}

// newWorld returns a world. change is applied to the common options.
func newWorld(t testing.TB, change ...func(*Options)) *world {
	t.Helper()
	w := &world{t: t, clock: &clock{now: time.Unix(1_800_000_000, 0)}, db: openDB(t, dbtest.Memory)}
	w.Issuer = w.open(change...)
	return w
}

// open returns another Issuer with the same database and clock.
func (w *world) open(change ...func(*Options)) *Issuer {
	w.t.Helper()
	o := Options{
		Rows: w.db, Issuer: "https://r.test", Service: "r.test", TTL: 5 * time.Minute, UploadGrace: time.Hour,
		RotateAfter: 90 * 24 * time.Hour, Now: w.Now,
	}
	for _, f := range change {
		f(&o)
	}
	i, err := Open(w.t.Context(), o)
	if err != nil {
		w.t.Fatal(err)
	}
	return i
}

func openDB(t testing.TB, url string) *rows.DB {
	t.Helper()
	return rows.New(dbtest.Open(t, url))
}

// fileURL returns the URL of a database that can be opened several times.
func fileURL(t testing.TB) string {
	return "sqlite:" + (&url.URL{Path: filepath.Join(t.TempDir(), "berth.db")}).EscapedPath()
}

// manager returns a Manager, as a command in another process uses it.
func (w *world) manager() *Manager {
	w.t.Helper()
	m, err := NewManager(w.options)
	w.must(err)
	return m
}

func (w *world) version() auth.Version {
	w.t.Helper()
	v, err := w.db.AuthVersion(w.t.Context())
	w.must(err)
	return auth.Version(v)
}

// check verifies a token as a new request does.
func (w *world) check(text string) (Grant, error) {
	w.t.Helper()
	return w.Verify(w.t.Context(), text, w.version())
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// want checks the kind of error that a token gets, or nil.
func (w *world) want(text string, kind error) Grant {
	w.t.Helper()
	g, err := w.check(text)
	if !errors.Is(err, kind) {
		w.t.Fatalf("got %v, want %v", err, kind)
	}
	if err != nil && len(text) > 20 && strings.Contains(err.Error(), text[:20]) {
		w.t.Errorf("the error quotes the token: %v", err)
	}
	return g
}

func (w *world) token(id auth.Identity, access ...auth.Access) Signed {
	w.t.Helper()
	s, err := w.Sign(w.t.Context(), id, access)
	w.must(err)
	return s
}

// signer returns the active key.
func (w *world) signer() *key {
	w.t.Helper()
	set, err := w.currentKeys(w.t.Context())
	w.must(err)
	return set.signer
}

// parts are the members of a header or of claims. A json.RawMessage is used verbatim; nil removes
// the member.
type parts map[string]any

// forge returns a token of this world's key whose header and claims are changed by h and c.
func (w *world) forge(h, c parts) string {
	w.t.Helper()
	return w.forgeWith(w.signer().private, h, c)
}

func (w *world) forgeWith(private *ecdsa.PrivateKey, h, c parts) string {
	w.t.Helper()
	head, body := w.model()
	return w.assemble(change(head, h), change(body, c), func(text string) []byte { return es256(w.t, private, text) })
}

// model returns the header and claims of a real token.
func (w *world) model() (head, body parts) {
	w.t.Helper()
	segments := strings.Split(w.token(alice, pull("team/app")).Text, ".")
	for i, into := range []*parts{&head, &body} {
		data, err := base64.RawURLEncoding.DecodeString(segments[i])
		w.must(err)
		d := json.NewDecoder(strings.NewReader(string(data)))
		d.UseNumber()
		w.must(d.Decode(into))
	}
	return head, body
}

// assemble encodes header and claims, and signs them.
func (w *world) assemble(h, c any, sign func(text string) []byte) string {
	w.t.Helper()
	text := w.segment(h) + "." + w.segment(c)
	return text + "." + base64.RawURLEncoding.EncodeToString(sign(text))
}

func (w *world) segment(v any) string {
	w.t.Helper()
	data, ok := v.(json.RawMessage)
	if !ok {
		var err error
		data, err = json.Marshal(v)
		w.must(err)
	}
	return base64.RawURLEncoding.EncodeToString(data)
}

func es256(t testing.TB, private *ecdsa.PrivateKey, text string) []byte {
	t.Helper()
	signature, err := jwt.SigningMethodES256.Sign(text, private)
	if err != nil {
		t.Fatal(err)
	}
	return signature
}

// change returns p with the members in by replaced.
func change(p, by parts) parts {
	changed := parts{}
	for _, m := range []parts{p, by} {
		for name, value := range m {
			if changed[name] = value; value == nil {
				delete(changed, name)
			}
		}
	}
	return changed
}

var alice = auth.Identity{
	Kind: auth.User, Name: "alice", ID: "17", Credential: "password", Stamp: "3", Groups: []string{"team-a", "staff"},
}

func pull(repo string) auth.Access {
	return auth.Access{Type: "repository", Name: repo, Actions: []string{"pull"}}
}

// writeKeys writes a key file with new keys of the given curves.
func writeKeys(t testing.TB, name string, curves ...elliptic.Curve) {
	t.Helper()
	var data []byte
	for _, curve := range curves {
		private, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		data = append(data, encodePrivate(t, private)...)
	}
	writeFile(t, name, data)
}

func encodePrivate(t testing.TB, private any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: privateBlock, Bytes: der})
}

func writeFile(t testing.TB, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
