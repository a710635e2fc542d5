package auth

import (
	"testing"
	"time"
)

func TestTTLBounds(t *testing.T) {
	for _, c := range []struct {
		name  string
		check func(time.Duration) error
		ttl   time.Duration
		good  bool
	}{
		{"token", CheckTokenTTL, time.Minute, true},
		{"token", CheckTokenTTL, time.Minute - time.Second, false},
		{"token", CheckTokenTTL, time.Hour, true},
		{"token", CheckTokenTTL, time.Hour + time.Second, false},
		{"token", CheckTokenTTL, 90 * time.Second, true},
		{"token", CheckTokenTTL, 90*time.Second + time.Millisecond, false},
		{"session", CheckSessionTTL, time.Minute, true},
		{"session", CheckSessionTTL, time.Minute - 1, false},
		{"session", CheckSessionTTL, 6 * time.Hour, true},
		{"session", CheckSessionTTL, 6*time.Hour + 1, false},
	} {
		if err := c.check(c.ttl); (err == nil) != c.good {
			t.Errorf("%s of %v: %v", c.name, c.ttl, err)
		}
	}
}
