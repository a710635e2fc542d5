package catalog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/berth-registry/berth/auth"
)

const megabytes = 8 << 20

// everyNth returns a filter that lets one name in n through.
func everyNth(n int) func(string) bool {
	return func(name string) bool { return numberOf(name)%n == 0 }
}

// TestD7PageCost checks that, after the first request, a page costs at most twice as much as for a
// caller who sees everything, wherever the visible names are. Tests of attacks are named after the
// numbers in docs/security.md.
func TestD7PageCost(t *testing.T) {
	const total = 100_000
	lister, counter := repositories(total), &viewCounter{}
	c := New(lister, megabytes)
	everything := counter.view("everything", func(string) bool { return true })
	views := map[string]func(string) bool{
		"none":           func(string) bool { return false },
		"one in 1000":    everyNth(1000),
		"one in 10":      everyNth(10),
		"one in 4":       everyNth(4),
		"all but 1%":     func(name string) bool { return !everyNth(100)(name) },
		"runs of 70":     func(name string) bool { return numberOf(name)%1000 < 70 },
		"the last":       func(name string) bool { return name == repoName(total-1) },
		"the upper half": func(name string) bool { return name >= repoName(total/2) },
	}
	for what, allows := range views {
		v := counter.view(what, allows)
		first := measure(lister, counter, func() { mustPage(t, c, v, "", 10_000) })
		if first.names > total+12_000 || first.decisions > total+12_000 {
			t.Errorf("%s: the first request costs %+v", what, first)
		}
		for _, n := range []int{1, 100, 1000, 10_000} {
			for _, after := range []string{"", repoName(total / 3), repoName(total - n), "q", "z"} {
				got := measure(lister, counter, func() { mustPage(t, c, v, after, n) })
				most := measure(lister, counter, func() { mustPage(t, c, everything, after, n) })
				if got.names > 2*most.names || got.decisions > 2*most.decisions {
					t.Errorf("%s: %d after %q cost %+v, everything costs %+v", what, n, after, got, most)
				}
				// An interval costs a query even if no name follows in it.
				if got.queries > 2*most.queries+n/minInterval {
					t.Errorf("%s: %d after %q are %d queries, everything is %d", what, n, after, got.queries, most.queries)
				}
			}
		}
	}
	if c.bytes > megabytes {
		t.Errorf("%d bytes are kept", c.bytes)
	}
}

// TestD7ScanOnce checks that concurrent requests make one scan for each View, one
// after the other.
func TestD7ScanOnce(t *testing.T) {
	const total, requests, views = 5000, 20, 5
	lister, counter := repositories(total), &viewCounter{}
	c := New(lister, megabytes)
	var mu sync.Mutex
	var scans, want []string // the names after which scans read, and those expected
	lister.onQuery = func(after string, n int) {
		mu.Lock()
		defer mu.Unlock()
		if n == queryPage {
			scans = append(scans, after)
		}
	}
	for range views {
		want = append(want, "")
		for at := queryPage; at <= total; at += queryPage {
			want = append(want, repoName(at-1))
		}
	}
	var all sync.WaitGroup
	got := measure(lister, counter, func() {
		for i := range requests * views {
			all.Go(func() {
				v := counter.view(fmt.Sprint(i%views), everyNth(1000+i%views))
				if names, _ := mustPage(t, c, v, "r/1", 10); len(names) != 0 {
					t.Errorf("names after the last are %v", names)
				}
				if names, more := mustPage(t, c, v, "", 3); len(names) != 3 || !more {
					t.Errorf("the first names are %v", names)
				}
			})
		}
		all.Wait()
	})
	if !slices.Equal(scans, want) {
		t.Errorf("scans read after %v, want %v", scans, want)
	}
	if once := views * total; got.names < once || got.names > once+requests*views*5 {
		t.Errorf("%d rows were read, once are %d", got.names, once)
	}
}

// TestD7ScanResumes checks that interrupted requests continue the scan, so that together they read
// all names once.
func TestD7ScanResumes(t *testing.T) {
	const total = 50 * queryPage
	lister, counter := repositories(total), &viewCounter{}
	c := New(lister, megabytes)
	v := counter.view("none", func(string) bool { return false })
	broken := 0
	got := measure(lister, counter, func() {
		for err := error(context.Canceled); err != nil; broken++ {
			ctx, cancel := context.WithCancel(t.Context())
			queries := 0
			lister.onQuery = func(string, int) {
				if queries++; queries == 4 { // the client leaves
					cancel()
				}
			}
			_, _, err = c.Page(ctx, v, "", 1)
			if cancel(); err != nil && !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
		}
	})
	if broken < 10 || got.decisions > total+2*queryPage || got.names > total+broken {
		t.Errorf("broken off %d times it cost %+v", broken, got)
	}
}

// TestWaitingRequestTakesOverScan checks that a waiting request continues the scan of another one
// whose client leaves.
func TestWaitingRequestTakesOverScan(t *testing.T) {
	const total = 10 * queryPage
	synctest.Test(t, func(t *testing.T) {
		lister, counter := repositories(total), &viewCounter{}
		c := New(lister, megabytes)
		v := counter.view("last", func(name string) bool { return name == repoName(total-1) })
		proceed := make(chan struct{})
		lister.onQuery = func(after string, _ int) {
			if after == repoName(5*queryPage-1) {
				<-proceed
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		first, second := make(chan error, 1), make(chan []string, 1)
		got := measure(lister, counter, func() {
			go func() {
				_, _, err := c.Page(ctx, v, "", 1)
				first <- err
			}()
			synctest.Wait()
			go func() {
				names, _ := mustPage(t, c, v, "", 1)
				second <- names
			}()
			synctest.Wait()
			cancel()
			close(proceed)
			if err := <-first; !errors.Is(err, context.Canceled) {
				t.Errorf("whose client left ends with %v", err)
			}
			if names := <-second; !slices.Equal(names, []string{repoName(total - 1)}) {
				t.Errorf("the next gets %v", names)
			}
		})
		if got.names > total+10 || got.decisions > total+10 {
			t.Errorf("both cost %+v", got)
		}
	})
}

// TestWaitEndsWithContext checks that a request that waits for a scan, of its own or of another
// View, stops waiting when its client leaves.
func TestWaitEndsWithContext(t *testing.T) {
	for _, key := range []string{"none", "other"} {
		synctest.Test(t, func(t *testing.T) {
			lister := repositories(3 * queryPage)
			c := New(lister, megabytes)
			nothing := func(string) bool { return false }
			proceed := make(chan struct{})
			lister.onQuery = func(after string, _ int) {
				if after != "" { // in the middle of a scan
					<-proceed
				}
			}
			first := make(chan error, 1)
			go func() {
				_, _, err := c.Page(t.Context(), auth.View{Key: "none", Allows: nothing}, "", 1)
				first <- err
			}()
			synctest.Wait()
			ctx, cancel := context.WithCancel(t.Context())
			second := make(chan error, 1)
			go func() {
				_, _, err := c.Page(ctx, auth.View{Key: key, Allows: nothing}, "", 1)
				second <- err
			}()
			synctest.Wait()
			cancel()
			if err := <-second; !errors.Is(err, context.Canceled) {
				t.Errorf("%s: a request that waits ends with %v", key, err)
			}
			close(proceed)
			if err := <-first; err != nil {
				t.Errorf("%s: the scan ends with %v", key, err)
			}
		})
	}
}

// TestD7MemoryIsBounded checks that the memory has a limit for any number of Views and any
// positions of visible names, and that recently used lists stay.
func TestD7MemoryIsBounded(t *testing.T) {
	const most = 64 << 10
	lister, counter := repositories(20_000), &viewCounter{}
	c := New(lister, most)
	usual := counter.view("usual", everyNth(5000))
	for i := range 200 {
		allows := everyNth(i%7 + 1)
		mustPage(t, c, counter.view(strings.Repeat("k", i), func(name string) bool { return allows(name) && name != repoName(0) }), "", 10)
		before := c.bytes
		if got := measure(lister, counter, func() { mustPage(t, c, usual, "", 10) }); i > 0 && got != (cost{0, 0, 0}) {
			t.Fatalf("after %d Views the list that is used all the time is gone: %+v", i, got)
		}
		if before > most {
			t.Fatalf("after %d Views %d bytes are kept", i, before)
		}
	}
	sum := 0
	for _, e := range c.entries.Values() {
		sum += e.bytes
		if l := e.list.Load(); l != nil && l.bytes > most/maxListFraction {
			t.Errorf("a list takes %d bytes", l.bytes)
		}
	}
	if sum != c.bytes || c.entries.Len() < 8 {
		t.Errorf("%d entries take %d bytes, %d are counted", c.entries.Len(), sum, c.bytes)
	}
}

// TestIntervalsWidenWhenMemoryIsShort checks that a list that would be too large makes pages read
// hidden names instead, but only nearby ones.
func TestIntervalsWidenWhenMemoryIsShort(t *testing.T) {
	const total, visible = 40_000, 20_000
	lister, counter := repositories(total), &viewCounter{}
	c := New(lister, 128<<10)
	third := everyNth(3)
	v := counter.view("thirds", func(name string) bool { return name >= repoName(visible) && third(name) })
	mustPage(t, c, v, "", 1)
	got := measure(lister, counter, func() {
		names, more := mustPage(t, c, v, "", 100)
		if len(names) != 100 || !more || names[0] != repoName(20_001) || names[99] != repoName(20_001+3*99) {
			t.Errorf("the first page is %v", names)
		}
	})
	if got.names > 400 || got.queries > 10 {
		t.Errorf("a page of 100 costs %+v", got)
	}
}

// TestHiddenNamesWithinInterval checks that hidden repositories that are listed later, between
// visible ones, do not make pages more expensive.
func TestHiddenNamesWithinInterval(t *testing.T) {
	lister, counter := repositories(1000), &viewCounter{}
	c := New(lister, megabytes)
	v := counter.view("r", func(name string) bool { return !isLate(name) && name != repoName(999) })
	mustPage(t, c, v, "", 1000)
	for i := range 500 {
		lister.list(fmt.Sprintf("r/0000500/%d", i))
		mustPage(t, c, v, "", 1)
	}
	lister.list("r/0000010/b", "r/0000010/a") // the first of them splits an interval
	mustPage(t, c, v, "", 1)
	got := measure(lister, counter, func() {
		if names, more := mustPage(t, c, v, "", 1000); len(names) != 999 || more {
			t.Errorf("%d names, more %t", len(names), more)
		}
	})
	if got.names > 1000 || got.queries > 3 {
		t.Errorf("a page across them costs %+v", got)
	}
}

// TestLargeListIsScannedAgain checks that a list that becomes too large is made by a new scan.
func TestLargeListIsScannedAgain(t *testing.T) {
	const most = 64 << 10
	lister, counter := repositories(4000), &viewCounter{}
	c := New(lister, most)
	v := counter.view("new", func(name string) bool { return strings.HasSuffix(name, "/new") })
	mustPage(t, c, v, "", 1)
	scans := 0
	for i := range 2000 {
		lister.list(repoName(2*i) + "/new")
		got := measure(lister, counter, func() {
			if names, more := mustPage(t, c, v, repoName(2*i), 1); !slices.Equal(names, []string{repoName(2*i) + "/new"}) || more {
				t.Fatalf("after %d the new one is %v", i, names)
			}
		})
		if got.names > 4000 {
			scans++
		}
	}
	if scans == 0 || scans > 10 {
		t.Errorf("the list was made again %d times", scans)
	}
	if e, _ := c.find("new"); e.list.Load() == nil || e.list.Load().bytes > most/maxListFraction {
		t.Errorf("what is kept in the end is %+v", e)
	}
}

// TestSkippedVersions checks that a gap in the version numbers is queried only once.
func TestSkippedVersions(t *testing.T) {
	lister, counter := repositories(100), &viewCounter{}
	c := New(lister, megabytes)
	v := counter.view("none", func(string) bool { return false })
	mustPage(t, c, v, "", 1)
	lister.skipped = 3
	mustPage(t, c, v, "", 1)
	if got := measure(lister, counter, func() { mustPage(t, c, v, "", 1) }); got != (cost{}) {
		t.Errorf("a page costs %+v", got)
	}
}

// TestPageCostHidesHiddenNames checks that a page reads no hidden names, except in a scan.
// Otherwise its time would reveal how many there are.
func TestPageCostHidesHiddenNames(t *testing.T) {
	for _, hidden := range []int{1, 10, 5000} {
		lister, counter := repositories(200), &viewCounter{}
		for i := range hidden {
			lister.list(fmt.Sprintf("r/0000100/%d", i))
		}
		c := New(lister, megabytes)
		v := counter.view("", func(name string) bool { return strings.Count(name, "/") == 1 })
		mustPage(t, c, v, "", 150)
		for range 2 {
			got := measure(lister, counter, func() { mustPage(t, c, v, "", 150) })
			if want := (cost{151, 2, 151}); got != want {
				t.Errorf("with %d hidden names a page costs %+v, want %+v", hidden, got, want)
			}
		}
	}
}

// failingLister is a Lister that fails after a number of queries.
type failingLister struct {
	*memoryLister
	left int
}

var errRows = errors.New("the disk is on fire")

func (f *failingLister) next() bool { f.left--; return f.left >= 0 }

func (f *failingLister) Repositories(ctx context.Context, after, before string, n int) ([]string, error) {
	if !f.next() {
		return nil, errRows
	}
	return f.memoryLister.Repositories(ctx, after, before, n)
}

func (f *failingLister) ListVersion(ctx context.Context) (int64, error) {
	if !f.next() {
		return 0, errRows
	}
	return f.memoryLister.ListVersion(ctx)
}

func (f *failingLister) ListedSince(ctx context.Context, since int64, n int) ([]string, int64, error) {
	if !f.next() {
		return nil, 0, errRows
	}
	return f.memoryLister.ListedSince(ctx, since, n)
}

// TestQueryErrors makes each query fail once. The request must return the error, and the next one
// must succeed.
func TestQueryErrors(t *testing.T) {
	m := repositories(3 * queryPage)
	lister := &failingLister{memoryLister: m}
	v := auth.View{Key: "", Allows: func(name string) bool { return name != "r/0001000/hidden" && name != repoName(0) }}
	want := func() (names []string) {
		for _, name := range m.sorted {
			if v.Allows(name) {
				names = append(names, name)
			}
		}
		return names
	}
	for fail := 0; ; fail++ {
		c := New(lister, megabytes)
		m.order, m.sorted = slices.DeleteFunc(m.order, isLate), slices.DeleteFunc(m.sorted, isLate)
		failed := false
		for _, late := range []string{"", "r/0000500/new", "r/0001000/hidden"} { // the last one splits an interval
			if late != "" {
				m.list(late)
			}
			lister.left = fail
			if _, _, err := c.Page(t.Context(), v, "", 10_000); err != nil {
				if failed = true; !errors.Is(err, errRows) {
					t.Fatal(err)
				}
			}
			lister.left = 1000
			if names, _ := mustPage(t, c, v, "", 10_000); !slices.Equal(names, want()) {
				t.Fatalf("after query %d failed %d names are listed, want %d", fail, len(names), len(want()))
			}
		}
		if !failed {
			if fail < 5 {
				t.Errorf("nothing failed after %d queries", fail)
			}
			return
		}
	}
}

func isLate(name string) bool { return strings.Count(name, "/") == 2 }
