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

// everyNth sees one name of n.
func everyNth(n int) func(string) bool {
	return func(name string) bool { return numberOf(name)%n == 0 }
}

// TestD7CatalogPagesCostWhatIsSeen: after the first request a page costs at most twice
// what it costs a caller who sees everything, however the visible names lie.
func TestD7CatalogPagesCostWhatIsSeen(t *testing.T) {
	const total = 100_000
	rows, asked := many(total), &decisions{}
	c := New(rows, megabytes)
	everything := asked.view("everything", func(string) bool { return true })
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
		v := asked.view(what, allows)
		first := costs(rows, asked, func() { mustPage(t, c, v, "", 10_000) })
		if first.rows > total+12_000 || first.decisions > total+12_000 {
			t.Errorf("%s: the first request costs %+v", what, first)
		}
		for _, n := range []int{1, 100, 1000, 10_000} {
			for _, after := range []string{"", repoName(total / 3), repoName(total - n), "q", "z"} {
				got := costs(rows, asked, func() { mustPage(t, c, v, after, n) })
				most := costs(rows, asked, func() { mustPage(t, c, everything, after, n) })
				if got.rows > 2*most.rows || got.decisions > 2*most.decisions {
					t.Errorf("%s: %d after %q cost %+v, everything costs %+v", what, n, after, got, most)
				}
				// A query for names that are no longer there to be read is one all the same.
				if got.queries > 2*most.queries+n/minStretch {
					t.Errorf("%s: %d after %q are %d queries, everything is %d", what, n, after, got.queries, most.queries)
				}
			}
		}
	}
	if c.bytes > megabytes {
		t.Errorf("%d bytes are kept", c.bytes)
	}
}

// TestD7CatalogScansOnce: many requests at once are one scan, of one View after the other.
func TestD7CatalogScansOnce(t *testing.T) {
	const total, requests, views = 5000, 20, 5
	rows, asked := many(total), &decisions{}
	c := New(rows, megabytes)
	var mu sync.Mutex
	var scans, want []string // after which names scans read
	rows.asked = func(after string, n int) {
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
	got := costs(rows, asked, func() {
		for i := range requests * views {
			all.Go(func() {
				v := asked.view(fmt.Sprint(i%views), everyNth(1000+i%views))
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
	if once := views * total; got.rows < once || got.rows > once+requests*views*5 {
		t.Errorf("%d rows were read, once are %d", got.rows, once)
	}
}

// TestD7CatalogScanGoesOn: requests that are broken off again and again read the names
// once.
func TestD7CatalogScanGoesOn(t *testing.T) {
	const total = 50 * queryPage
	rows, asked := many(total), &decisions{}
	c := New(rows, megabytes)
	v := asked.view("none", func(string) bool { return false })
	broken := 0
	got := costs(rows, asked, func() {
		for err := error(context.Canceled); err != nil; broken++ {
			ctx, cancel := context.WithCancel(t.Context())
			queries := 0
			rows.asked = func(string, int) {
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
	if broken < 10 || got.decisions > total+2*queryPage || got.rows > total+broken {
		t.Errorf("broken off %d times it cost %+v", broken, got)
	}
}

// TestCatalogTakesOver: a request that waits for the scan of another goes on with it when
// that one's client leaves.
func TestCatalogTakesOver(t *testing.T) {
	const total = 10 * queryPage
	synctest.Test(t, func(t *testing.T) {
		rows, asked := many(total), &decisions{}
		c := New(rows, megabytes)
		v := asked.view("last", func(name string) bool { return name == repoName(total-1) })
		proceed := make(chan struct{})
		rows.asked = func(after string, _ int) {
			if after == repoName(5*queryPage-1) {
				<-proceed
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		first, second := make(chan error, 1), make(chan []string, 1)
		got := costs(rows, asked, func() {
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
		if got.rows > total+10 || got.decisions > total+10 {
			t.Errorf("both cost %+v", got)
		}
	})
}

// TestCatalogWaits: a request waits for the scan of another of its View, and for that of
// another View, no longer than its client does.
func TestCatalogWaits(t *testing.T) {
	for _, key := range []string{"none", "other"} {
		synctest.Test(t, func(t *testing.T) {
			rows := many(3 * queryPage)
			c := New(rows, megabytes)
			nothing := func(string) bool { return false }
			proceed := make(chan struct{})
			rows.asked = func(after string, _ int) {
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

// TestD7CatalogMemory: what is kept has a bound, however many Views there are and
// however their names lie, and those used last stay.
func TestD7CatalogMemory(t *testing.T) {
	const most = 64 << 10
	rows, asked := many(20_000), &decisions{}
	c := New(rows, most)
	usual := asked.view("usual", everyNth(5000))
	for i := range 200 {
		allows := everyNth(i%7 + 1)
		mustPage(t, c, asked.view(strings.Repeat("k", i), func(name string) bool { return allows(name) && name != repoName(0) }), "", 10)
		before := c.bytes
		if got := costs(rows, asked, func() { mustPage(t, c, usual, "", 10) }); i > 0 && got != (work{0, 0, 0}) {
			t.Fatalf("after %d Views the list that is used all the time is gone: %+v", i, got)
		}
		if before > most {
			t.Fatalf("after %d Views %d bytes are kept", i, before)
		}
	}
	sum := 0
	for _, e := range c.entries.Values() {
		sum += e.bytes
		if l := e.list.Load(); l != nil && l.bytes > most/largest {
			t.Errorf("a list takes %d bytes", l.bytes)
		}
	}
	if sum != c.bytes || c.entries.Len() < 8 {
		t.Errorf("%d entries take %d bytes, %d are counted", c.entries.Len(), sum, c.bytes)
	}
}

// TestCatalogWidensStretches: names that would take too much memory cost rows instead,
// and no more of them than it takes: what is hidden far away is not read.
func TestCatalogWidensStretches(t *testing.T) {
	const total, visible = 40_000, 20_000
	rows, asked := many(total), &decisions{}
	c := New(rows, 128<<10)
	third := everyNth(3)
	v := asked.view("thirds", func(name string) bool { return name >= repoName(visible) && third(name) })
	mustPage(t, c, v, "", 1)
	got := costs(rows, asked, func() {
		names, more := mustPage(t, c, v, "", 100)
		if len(names) != 100 || !more || names[0] != repoName(20_001) || names[99] != repoName(20_001+3*99) {
			t.Errorf("the first page is %v", names)
		}
	})
	if got.rows > 400 || got.queries > 10 {
		t.Errorf("a page of 100 costs %+v", got)
	}
}

// TestCatalogHiddenWithinStretch: repositories that are listed later and hidden, in the
// middle of visible ones, leave nothing behind that costs.
func TestCatalogHiddenWithinStretch(t *testing.T) {
	rows, asked := many(1000), &decisions{}
	c := New(rows, megabytes)
	v := asked.view("r", func(name string) bool { return !isLate(name) && name != repoName(999) })
	mustPage(t, c, v, "", 1000)
	for i := range 500 {
		rows.list(fmt.Sprintf("r/0000500/%d", i))
		mustPage(t, c, v, "", 1)
	}
	rows.list("r/0000010/b", "r/0000010/a") // both are there when the first one splits a stretch
	mustPage(t, c, v, "", 1)
	got := costs(rows, asked, func() {
		if names, more := mustPage(t, c, v, "", 1000); len(names) != 999 || more {
			t.Errorf("%d names, more %t", len(names), more)
		}
	})
	if got.rows > 1000 || got.queries > 3 {
		t.Errorf("a page across them costs %+v", got)
	}
}

// TestCatalogOutgrowsMemory: a list that new repositories make too large is made again.
func TestCatalogOutgrowsMemory(t *testing.T) {
	const most = 64 << 10
	rows, asked := many(4000), &decisions{}
	c := New(rows, most)
	v := asked.view("new", func(name string) bool { return strings.HasSuffix(name, "/new") })
	mustPage(t, c, v, "", 1)
	scans := 0
	for i := range 2000 {
		rows.list(repoName(2*i) + "/new")
		got := costs(rows, asked, func() {
			if names, more := mustPage(t, c, v, repoName(2*i), 1); !slices.Equal(names, []string{repoName(2*i) + "/new"}) || more {
				t.Fatalf("after %d the new one is %v", i, names)
			}
		})
		if got.rows > 4000 {
			scans++
		}
	}
	if scans == 0 || scans > 10 {
		t.Errorf("the list was made again %d times", scans)
	}
	if e, _ := c.find("new"); e.list.Load() == nil || e.list.Load().bytes > most/largest {
		t.Errorf("what is kept in the end is %+v", e)
	}
}

// TestCatalogSkippedVersions: a number of the version that no repository has is not
// looked for again and again.
func TestCatalogSkippedVersions(t *testing.T) {
	rows, asked := many(100), &decisions{}
	c := New(rows, megabytes)
	v := asked.view("none", func(string) bool { return false })
	mustPage(t, c, v, "", 1)
	rows.skipped = 3
	mustPage(t, c, v, "", 1)
	if got := costs(rows, asked, func() { mustPage(t, c, v, "", 1) }); got != (work{}) {
		t.Errorf("a page costs %+v", got)
	}
}

// TestCatalogPurity: no page passes over hidden names, so that none tells how many
// there are, but for the request that scans.
func TestCatalogPurity(t *testing.T) {
	for _, hidden := range []int{1, 10, 5000} {
		rows, asked := many(200), &decisions{}
		for i := range hidden {
			rows.list(fmt.Sprintf("r/0000100/%d", i))
		}
		c := New(rows, megabytes)
		v := asked.view("", func(name string) bool { return strings.Count(name, "/") == 1 })
		mustPage(t, c, v, "", 150)
		for range 2 {
			got := costs(rows, asked, func() { mustPage(t, c, v, "", 150) })
			if want := (work{151, 2, 151}); got != want {
				t.Errorf("with %d hidden names a page costs %+v, want %+v", hidden, got, want)
			}
		}
	}
}

// failing are Rows that fail from some query on.
type failing struct {
	*memory
	left int
}

var errRows = errors.New("the disk is on fire")

func (f *failing) ok() bool { f.left--; return f.left >= 0 }

func (f *failing) Repositories(ctx context.Context, after, before string, n int) ([]string, error) {
	if !f.ok() {
		return nil, errRows
	}
	return f.memory.Repositories(ctx, after, before, n)
}

func (f *failing) ListVersion(ctx context.Context) (int64, error) {
	if !f.ok() {
		return 0, errRows
	}
	return f.memory.ListVersion(ctx)
}

func (f *failing) Listed(ctx context.Context, since int64, n int) ([]string, int64, error) {
	if !f.ok() {
		return nil, 0, errRows
	}
	return f.memory.Listed(ctx, since, n)
}

// TestCatalogErrors has each query fail once: the request says so, and the next one is
// answered as if nothing had been.
func TestCatalogErrors(t *testing.T) {
	m := many(3 * queryPage)
	rows := &failing{memory: m}
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
		c := New(rows, megabytes)
		m.order, m.sorted = slices.DeleteFunc(m.order, isLate), slices.DeleteFunc(m.sorted, isLate)
		failed := false
		for _, late := range []string{"", "r/0000500/new", "r/0001000/hidden"} { // the last one splits a stretch
			if late != "" {
				m.list(late)
			}
			rows.left = fail
			if _, _, err := c.Page(t.Context(), v, "", 10_000); err != nil {
				if failed = true; !errors.Is(err, errRows) {
					t.Fatal(err)
				}
			}
			rows.left = 1000
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
