package account

import (
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/auth"
)

func TestParseLifetime(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"90d": 90 * day, "366d": 366 * day, "1d": day, "12h30m": 12*time.Hour + 30*time.Minute, "1m": time.Minute, "8784h": 366 * day,
	} {
		if got, err := ParseLifetime(text); got != want || err != nil {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "d", "-1d", "+1d", "1.5d", "1d1h", "367d", "65536d", "99999999999999999999d", "59s", "-1h", "8785h", "90", " 9d", "9D"} {
		if got, err := ParseLifetime(text); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
}

func TestTokens(t *testing.T) { onEngines(t, testTokens) }

func testTokens(t *testing.T, w *fixture) {
	alice := w.addUser("alice")
	scope, err := auth.ParseScope("repository:team/**:pull")
	if err != nil {
		t.Fatal(err)
	}
	wanted := TokenOptions{
		Name: "laptop", Scope: scope, Lifetime: time.Hour, Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
	}
	token, secret, err := w.CreateToken(t.Context(), alice, wanted)
	if err != nil {
		t.Fatal(err)
	}
	want := Token{
		ID: token.ID, Kind: "personal", Owner: "alice", Name: "laptop", Scope: "repository:team/**:pull",
		Networks: []string{"10.0.0.0/8"}, Created: w.time, Expires: w.time.Add(time.Hour),
	}
	if !reflect.DeepEqual(token, want) || !strings.HasPrefix(secret, "berth") {
		t.Errorf("made %+v, want %+v", token, want)
	}
	robot, _, err := w.CreateRobot(t.Context(), "deployer", []string{"ops"}, wanted)
	if err != nil || robot.Owner != "robot+deployer" || robot.Kind != "robot" {
		t.Fatalf("a robot: %+v, %v", robot, err)
	}
	if _, _, err := w.CreateRobot(t.Context(), "deployer", nil, wanted); !errors.Is(err, ErrExists) {
		t.Errorf("the robot again: %v", err)
	}
	owner, err := w.AccountOf(t.Context(), "robot+deployer")
	if err != nil || !reflect.DeepEqual(owner.Groups, []string{"ops"}) {
		t.Fatalf("the robot's account: %+v, %v", owner, err)
	}
	if all, err := w.Tokens(t.Context()); err != nil || !reflect.DeepEqual(all, []Token{want, robot}) {
		t.Errorf("all tokens: %+v, %v", all, err)
	}
	if of, err := w.TokensOf(t.Context(), owner); err != nil || !reflect.DeepEqual(of, []Token{robot}) {
		t.Errorf("the robot's tokens: %+v, %v", of, err)
	}
	if of, err := w.TokensOf(t.Context(), Account{}); err != nil || len(of) != 0 {
		t.Errorf("the tokens of no account: %+v, %v", of, err)
	}
	if err := w.Revoke(t.Context(), token.ID); err != nil {
		t.Fatal(err)
	}
	if err := w.Revoke(t.Context(), token.ID); !errors.Is(err, ErrUnknown) {
		t.Errorf("revoked twice: %v", err)
	}
}

// TestBadTokens checks that a bad name, group or token name creates no robot.
func TestBadTokens(t *testing.T) { onEngines(t, testBadTokens) }

func testBadTokens(t *testing.T, w *fixture) {
	for name, groups := range map[string][]string{"Bad Name": nil, "good": {"Bad Group"}} {
		if _, _, err := w.CreateRobot(t.Context(), name, groups, TokenOptions{Lifetime: time.Hour}); err == nil {
			t.Errorf("%q in %q is made", name, groups)
		}
	}
	for _, name := range []string{"a\nb", strings.Repeat("a", maxTokenName+1)} {
		if _, _, err := w.CreateRobot(t.Context(), "robot", nil, TokenOptions{Name: name, Lifetime: time.Hour}); err == nil {
			t.Errorf("a token is called %q", name)
		}
	}
	for a, err := range w.Accounts(t.Context(), auth.Robot) {
		t.Errorf("there is %+v, %v", a, err)
	}
}
