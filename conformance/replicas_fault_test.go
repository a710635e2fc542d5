package conformance

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/berth-registry/berth/internal/testserver"
)

// outageAnswers is a transport that counts the answers of a registry whose database is down, and
// keeps those that a client could take for more than a passing failure.
type outageAnswers struct {
	next http.RoundTripper

	mu          sync.Mutex
	unavailable int      // 503 with Retry-After
	wrong       []string // other 5xx, 503 without Retry-After, and 401
}

func (o *outageAnswers) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := o.next.RoundTrip(req)
	if err != nil || resp.StatusCode < 500 && resp.StatusCode != http.StatusUnauthorized {
		return resp, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") != "" {
		o.unavailable++
	} else {
		o.wrong = append(o.wrong, fmt.Sprintf("%s %s: %s, Retry-After %q", req.Method, req.URL.Path, resp.Status, resp.Header.Get("Retry-After")))
	}
	return resp, err
}

// TestReplicasDatabaseStops repeatedly stops PostgreSQL as a crash does, during a storm, and starts
// it again. The replicas go on running. Until the database is back they answer with 503 and
// Retry-After. What they acknowledged is there afterwards, byte for byte.
func TestReplicasDatabaseStops(t *testing.T) {
	t.Parallel()
	const stops = 3
	seed := stormSeed(t)
	rng := rand.New(rand.NewPCG(seed, 5))
	database, bucket := testserver.NewPostgres(t), t.TempDir()
	url := database.NewDatabase(t)
	r := startReplicas(t, 3, stores{url, "file://" + bucket}, "BERTH_LOG_LEVEL=error", unlimited)
	s := newStorm(t, r.URL, seed, 100<<20)
	answers := &outageAnswers{next: s.call.http.Transport}
	s.call.http.Transport = answers
	var total verdict
	for round := range stops + 1 {
		s.failing.Store(round < stops) // the last round has no failure
		over := make(chan struct{})
		go func() {
			defer close(over)
			s.run(round)
		}()
		time.Sleep(time.Duration(500+rng.IntN(1000)) * time.Millisecond)
		if round < stops {
			database.Stop(t, "immediate")
			time.Sleep(time.Duration(rng.IntN(1000)) * time.Millisecond)
			database.Start(t)
			time.Sleep(time.Duration(rng.IntN(500)) * time.Millisecond)
		}
		s.stop.Store(true)
		<-over
		s.newRound()
		total.add(s.verify(s.list(round)))
		s.report(fmt.Sprintf("after stop %d", round+1))
	}
	total.add(s.verify(s.list(-1)))
	s.report("at the end")
	for i, line := range answers.wrong {
		if i == 20 {
			t.Errorf("and %d more", len(answers.wrong)-i)
			break
		}
		t.Error(line)
	}
	if answers.unavailable == 0 {
		t.Error("no request was answered with 503: the database was not missed")
	}
	for _, replica := range r.list {
		replica.Stop()
	}
	requireConsistentPostgres(t, url, bucket)
	t.Logf("%d stops, %d answers with 503: %s; %d read back, %d lost, %d wrong", stops, answers.unavailable, s.ledger, total.read, total.lost, total.wrong)
}

// requireConsistentPostgres is requireConsistent for a database on PostgreSQL.
func requireConsistentPostgres(t *testing.T, url, bucket string) {
	t.Helper()
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	db := stdlib.OpenDB(*config)
	defer db.Close()
	reportMismatches(t, append(compareObjects(t, db, bucket), checkRows(t, db, rowChecks)...))
}
