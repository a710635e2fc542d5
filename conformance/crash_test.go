package conformance

import (
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/internal/testserver"
)

// stormSeed returns the seed of a test's random numbers: BERTH_TEST_SEED, or the current time.
func stormSeed(t *testing.T) uint64 {
	t.Helper()
	if v := os.Getenv("BERTH_TEST_SEED"); v != "" {
		n, err := strconv.ParseUint(v, 10, 32)
		if err != nil {
			t.Fatalf("BERTH_TEST_SEED: %v", err)
		}
		return n
	}
	return uint64(time.Now().UnixNano()) % (1 << 32)
}

// TestCrash repeatedly kills the server during a storm. Everything that was acknowledged must be
// there afterwards, byte for byte. An upload that broke off must continue where the server says. At
// the end every object must have its row and every row its object.
func TestCrash(t *testing.T) {
	const kills = 50
	seed := stormSeed(t)
	rng := rand.New(rand.NewPCG(seed, 1))
	b := startBerth(t, options{Env: []string{"BERTH_LOG_LEVEL=warn", unlimited}})
	s := newStorm(t, b.URL, seed, 3<<30)
	var total verdict
	for round := range kills {
		over := make(chan struct{})
		go func() {
			defer close(over)
			s.run(round)
		}()
		time.Sleep(time.Duration(200+rng.IntN(1600)) * time.Millisecond)
		s.stop.Store(true)
		b.Kill()
		<-over
		s.newRound()
		s.call.http.CloseIdleConnections()
		b.Restart()
		total.add(s.verify(sample(rng, s.list(round), 150)))
		total.add(s.verify(sample(rng, s.list(-1), 50)))
		s.report("after kill " + strconv.Itoa(round+1))
		if t.Failed() {
			t.FailNow()
		}
	}
	total.add(s.verify(s.list(-1)))
	s.report("at the end")
	b.Stop()
	requireConsistent(t, filepath.Join(b.Data, "berth.db"), filepath.Join(b.Data, "blobs"))
	t.Logf("%d kills: %s; %d read back, %d lost, %d wrong", kills, s.ledger, total.read, total.lost, total.wrong)
}

// TestCrashKeepsSessions repeatedly kills the server just after an answer. All opened upload
// sessions must be there, with all their acknowledged bytes, and must finish. They are opened one
// after the other, because the server then makes the rows of several sessions at once.
func TestCrashKeepsSessions(t *testing.T) {
	const repo, kills = "team/app", 8
	b := startBerth(t, options{Env: []string{"BERTH_LOG_LEVEL=warn", unlimited}})
	call := newCaller(b.URL)
	type open struct {
		at   session
		c    content
		sent int64
	}
	number := uint64(1)
	for round := range kills {
		var sessions []open
		for i := range 2 + 3*round {
			at, a := call.open(repo, "")
			if a.status != http.StatusAccepted {
				t.Fatalf("POST: %v", a)
			}
			o := open{at: at, c: newContent(number, 2000, digest.SHA256)}
			number++
			if i%2 == 0 {
				o.sent = 700
				if a := call.patch(at, o.c, 0, o.sent, true); a.status != http.StatusAccepted {
					t.Fatalf("PATCH: %v", a)
				} else {
					o.at = call.sessionAt(a)
				}
			}
			sessions = append(sessions, o)
		}
		b.Kill()
		call.http.CloseIdleConnections()
		b.Restart()
		for _, o := range sessions {
			if n, a := call.received(o.at); a.status != http.StatusNoContent || n < o.sent {
				t.Fatalf("after kill %d: GET of a session with %d bytes: %d bytes, %v", round+1, o.sent, n, a)
			}
			if o.sent > 0 {
				if a := call.patch(o.at, o.c, o.sent, 600, true); a.status != http.StatusAccepted {
					t.Fatalf("after kill %d: PATCH: %v", round+1, a)
				}
				o.sent += 600
			}
			if a := call.put(o.at, o.c, o.sent); a.status != http.StatusCreated {
				t.Fatalf("after kill %d: PUT: %v", round+1, a)
			}
			if value, wrong, err := call.read(place{blobKind, repo, o.c.digest.String()}, ""); value == absent || wrong != "" || err != nil {
				t.Fatalf("after kill %d: pull: %q %s %v", round+1, value, wrong, err)
			}
		}
	}
	b.Stop()
	requireConsistent(t, filepath.Join(b.Data, "berth.db"), filepath.Join(b.Data, "blobs"))
}

// interruptStart starts the program, calls then before or soon after it is ready, and kills it.
func interruptStart(t *testing.T, data string, env []string, then func()) {
	t.Helper()
	cmd := exec.Command(berthBinary(t), "serve", "--data", data, "--addr", testserver.FreeAddr(t))
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = dieWithParent()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	then()
	cmd.Process.Kill()
	_ = cmd.Wait() // returns an error, because the process was killed
}

// requireWorking pushes a blob, reads it back, and stops the server.
func requireWorking(t *testing.T, b *server) {
	t.Helper()
	call := newCaller(b.URL)
	c := newContent(uint64(time.Now().UnixNano()), 1000, digest.SHA256)
	if a := call.post("team/app", c); a.status != http.StatusCreated {
		t.Errorf("push: %v", a)
	}
	if value, wrong, err := call.read(place{blobKind, "team/app", c.digest.String()}, ""); value == absent || wrong != "" || err != nil {
		t.Errorf("pull: %q %s %v", value, wrong, err)
	}
	b.Stop()
}

// TestCrashAtStart kills the first start while it makes directories, database and marker. The next
// start must make the rest.
func TestCrashAtStart(t *testing.T) {
	seed := stormSeed(t)
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 3))
	for range 8 {
		data := filepath.Join(t.TempDir(), "data")
		for range 1 + rng.IntN(3) {
			interruptStart(t, data, nil, func() { time.Sleep(time.Duration(rng.IntN(250)) * time.Millisecond) })
		}
		b := startBerth(t, options{Data: data})
		requireWorking(t, b)
		requireConsistent(t, filepath.Join(data, "berth.db"), filepath.Join(data, "blobs"))
	}
}
