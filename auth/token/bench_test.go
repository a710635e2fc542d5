package token

import (
	"testing"
	"time"
)

// benchmark returns an issuer on a database file, as a server has it.
func benchmark(b *testing.B) *world {
	b.Helper()
	w := &world{t: b, clock: &clock{now: time.Unix(1_800_000_000, 0)}, db: openDB(b, fileURL(b))}
	w.Issuer = w.open()
	b.ReportAllocs()
	return w
}

func BenchmarkSign(b *testing.B) {
	w := benchmark(b)
	for b.Loop() {
		if _, err := w.Sign(w.t.Context(), alice, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifyNew(b *testing.B) {
	w := benchmark(b)
	text, v := w.token(alice, pull("team/app")).Text, w.version()
	for b.Loop() {
		w.cache.Purge()
		if _, err := w.Verify(w.t.Context(), text, v); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifyCached(b *testing.B) {
	w := benchmark(b)
	text, v := w.token(alice, pull("team/app")).Text, w.version()
	for b.Loop() {
		if _, err := w.Verify(w.t.Context(), text, v); err != nil {
			b.Fatal(err)
		}
	}
}
