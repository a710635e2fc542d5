package login

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/berth-registry/berth/auth"
)

// A network is an IPv4 address in any notation, or 64 bits of an IPv6 address.
func TestNetworksAreCounted(t *testing.T) {
	for _, c := range []struct {
		one, other string
		same       bool
	}{
		{"192.0.2.1", "192.0.2.1", true},
		{"192.0.2.1", "::ffff:192.0.2.1", true},
		{"192.0.2.1", "192.0.2.2", false},
		{"2001:db8:0:1::1", "2001:db8:0:1:ffff::2", true},
		{"2001:db8:0:1::1", "2001:db8:0:2::1", false},
		{"fe80::1%eth0", "fe80::1%eth1", true},
		{"", "192.0.2.1", false},
		{"", "", true},
	} {
		f := newFixture(t, nil)
		one, _ := netip.ParseAddr(c.one)
		other, _ := netip.ParseAddr(c.other)
		for range burst {
			if err := f.guard.attempt(one); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.guard.attempt(other); c.same != errors.Is(err, auth.ErrTooMany) {
			t.Errorf("%q after %q: %v", c.other, c.one, err)
		}
	}
}

// TestWiderNetworksAreCounted checks that an IPv6 /56 has four times the attempts of a /64 and a
// /48 sixteen times, both at once and over time, and that other networks do not notice.
func TestWiderNetworksAreCounted(t *testing.T) {
	for _, c := range []struct {
		name    string
		address func(i int) string // of the i-th attempt
		share   int
	}{
		{"/64", func(i int) string { return fmt.Sprintf("2001:db8:0:1::%x", i) }, 1},
		{"/56", func(i int) string { return fmt.Sprintf("2001:db8:0:%x::1", i%256) }, 4},
		{"/48", func(i int) string { return fmt.Sprintf("2001:db8:0:%x::1", i*257%65536) }, 16},
	} {
		f := newFixture(t, nil)
		tried := 0
		passed := func(n int) (passed int) {
			for range n {
				if f.guard.attempt(netip.MustParseAddr(c.address(tried))) == nil {
					passed++
				}
				tried++
			}
			return passed
		}
		if got := passed(3000); got != c.share*burst {
			t.Errorf("%s: %d attempts at once, want %d", c.name, got, c.share*burst)
		}
		f.advance(3 * refill)
		if got := passed(3000); got != c.share*3 {
			t.Errorf("%s: %d attempts in %v, want %d", c.name, got, 3*refill, c.share*3)
		}
		if err := f.guard.attempt(netip.MustParseAddr("2001:db8:1::1")); err != nil {
			t.Errorf("%s: another network: %v", c.name, err)
		}
	}
}

// TestRefundInWiderNetworks checks that attempts that are given back cost no network anything.
func TestRefundInWiderNetworks(t *testing.T) {
	f := newFixture(t, nil)
	for i := range 1000 {
		from := netip.MustParseAddr(fmt.Sprintf("2001:db8:0:%x::1", i))
		if err := f.guard.attempt(from); err != nil {
			t.Fatalf("attempt %d: %v", i, err)
		}
		f.guard.refund(from)
	}
}

// TestA48DoesNotRollTheCache checks that the /64s of one /48 do not make the guard forget a
// network.
func TestA48DoesNotRollTheCache(t *testing.T) {
	f := newFixture(t, nil)
	guesser := netip.MustParseAddr("192.0.2.1")
	for f.guard.attempt(guesser) == nil {
	}
	for i := range 65536 {
		from := netip.MustParseAddr(fmt.Sprintf("2001:db8:0:%x::1", i))
		f.guard.attempt(from)
		f.guard.refuseRepeated(auth.Credentials{Name: "a", Secret: fmt.Sprint(i), From: from}, auth.ErrCredentials)
	}
	if n := f.guard.allowances.Len(); n > 500 {
		t.Errorf("%d networks are remembered", n)
	}
	if err := f.guard.attempt(guesser); err == nil {
		t.Error("a network without attempts was forgotten")
	}
}

// Attempts are regained one by one, up to burst.
func TestAttemptsComeBack(t *testing.T) {
	f := newFixture(t, nil)
	left := func(want int) {
		t.Helper()
		got := 0
		for f.guard.attempt(home) == nil {
			got++
		}
		if got != want {
			t.Errorf("%d attempts, want %d", got, want)
		}
	}
	left(burst)
	f.advance(refill - time.Nanosecond)
	left(0)
	f.advance(time.Nanosecond)
	left(1)
	f.advance(3 * refill)
	left(3)
	f.advance(1000 * time.Hour)
	f.guard.refund(home)
	left(burst)
	f.advance(-time.Hour) // a clock set back changes nothing
	left(0)
}

// The wait in a TooManyError is long enough, and no longer than needed.
func TestWait(t *testing.T) {
	f := newFixture(t, nil)
	for f.guard.attempt(home) == nil {
	}
	f.advance(2 * time.Second)
	var tooMany *auth.TooManyError
	if err := f.guard.attempt(home); !errors.As(err, &tooMany) || tooMany.Wait.Round(time.Millisecond) != refill-2*time.Second {
		t.Errorf("%v", err)
	}
}

// The number of networks that are remembered is bounded.
func TestGuardIsBounded(t *testing.T) {
	f := newFixture(t, nil)
	for i := range 2 * max(maxNetworks, maxFingerprints) {
		from := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		if err := f.guard.refuseRepeated(auth.Credentials{Name: fmt.Sprint(i), Secret: "x", From: from}, auth.ErrCredentials); !errors.Is(err, auth.ErrCredentials) {
			t.Fatal(err)
		}
	}
	if origins, proofs := f.guard.allowances.Len(), f.guard.bad.Len(); origins != maxNetworks || proofs != maxFingerprints {
		t.Errorf("%d networks, %d proofs", origins, proofs)
	}
}

// A fingerprint changes if bytes move from one of its parts to another.
func TestFingerprint(t *testing.T) {
	g, err := newGuard(time.Now)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[fingerprint]string)
	for _, c := range [][3]string{{"a", "b", "c"}, {"ab", "", "c"}, {"", "ab", "c"}, {"a", "bc", ""}, {"abc", "", ""}, {"a", "", "bc"}} {
		p := g.fingerprint(auth.Credentials{Name: c[0], Secret: c[1]}, c[2])
		if other, ok := seen[p]; ok {
			t.Errorf("%q has the fingerprint of %s", c, other)
		}
		seen[p] = fmt.Sprintf("%q", c)
	}
	other, err := newGuard(time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := seen[other.fingerprint(auth.Credentials{Name: "a", Secret: "b"}, "c")]; ok {
		t.Error("another process has the same key")
	}
}
