package conformance

import (
	"slices"
	"testing"
)

// TestLedger has the values that the ledger allows for a tag after some writes.
func TestLedger(t *testing.T) {
	tag := place{tagKind, "team/app", "v1"}
	for _, c := range []struct {
		name string
		do   func(l *ledger)
		want []string
	}{
		{"nothing but a refusal", func(l *ledger) { l.begin(tag, "a").refused() }, []string{absent}},
		{"acknowledged", func(l *ledger) { l.begin(tag, "a").acknowledged() }, []string{"a"}},
		{"no answer", func(l *ledger) { l.begin(tag, "a") }, []string{absent, "a"}},
		{"no answer before the last acknowledged", func(l *ledger) {
			l.begin(tag, "a")
			l.newRound()
			l.begin(tag, "b").acknowledged()
		}, []string{"b"}},
		{"no answer beside the last acknowledged", func(l *ledger) {
			l.begin(tag, "a")
			l.begin(tag, "b").acknowledged()
			l.newRound()
		}, []string{"a", "b"}},
		{"one after the other", func(l *ledger) {
			l.begin(tag, "a").acknowledged()
			l.begin(tag, "b").acknowledged()
		}, []string{"b"}},
		{"at the same time", func(l *ledger) {
			a, b := l.begin(tag, "a"), l.begin(tag, "b")
			a.acknowledged()
			b.acknowledged()
		}, []string{"a", "b"}},
		{"deleted", func(l *ledger) {
			l.begin(tag, "a").acknowledged()
			l.begin(tag, absent).acknowledged()
		}, []string{absent}},
		{"deleted, perhaps", func(l *ledger) {
			l.begin(tag, "a").acknowledged()
			l.begin(tag, absent)
			l.newRound()
		}, []string{absent, "a"}},
		{"seen after a crash", func(l *ledger) {
			l.begin(tag, "a").acknowledged()
			l.begin(tag, "b")
			l.newRound()
			l.observed(tag, "b")
		}, []string{"b"}},
	} {
		l := newLedger()
		c.do(l)
		got := l.allowed(tag)
		slices.Sort(got)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: the tag may hold %q, want %q", c.name, got, c.want)
		}
	}
}

// TestLedgerFind has the cases in which a DELETE may be answered 404.
func TestLedgerFind(t *testing.T) {
	tag := place{tagKind, "team/app", "v1"}
	l := newLedger()
	if !l.begin(tag, absent).couldFind(absent) {
		t.Error("a tag that nobody pushed must be absent")
	}
	l = newLedger()
	l.begin(tag, "a").acknowledged()
	if l.begin(tag, absent).couldFind(absent) {
		t.Error("a tag that was acknowledged must not be absent")
	}
	l = newLedger()
	l.begin(tag, "a").acknowledged()
	l.begin(tag, absent) // of another client, in progress
	if !l.begin(tag, absent).couldFind(absent) {
		t.Error("a tag that another deletes may be absent")
	}
	l = newLedger()
	l.begin(tag, "a").acknowledged()
	first := l.begin(tag, absent)
	l.begin(tag, absent).acknowledged()
	l.begin(tag, "b").acknowledged()
	if !first.couldFind(absent) {
		t.Error("a tag may have been absent for a moment while the request was under way")
	}
}
