package catalog

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/storage"
)

var _ Lister = (storage.Lists)(nil)

// memoryLister is a Lister in memory that counts what is read.
type memoryLister struct {
	mu      sync.Mutex
	sorted  []string
	order   []string // in the order of listing
	names   int      // number of names read
	queries int
	skipped int64                     // gap at the end of the version numbers
	onQuery func(after string, n int) // called for each query of names, if set
}

func (m *memoryLister) list(names ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.order = append(m.order, names...)
	m.sorted = append(m.sorted, names...)
	slices.Sort(m.sorted)
}

func (m *memoryLister) Repositories(_ context.Context, after, before string, n int) ([]string, error) {
	if m.onQuery != nil {
		m.onQuery(after, n)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	from := sort.Search(len(m.sorted), func(i int) bool { return m.sorted[i] > after })
	to := len(m.sorted)
	if before != "" {
		to = max(from, sort.SearchStrings(m.sorted, before))
	}
	names := slices.Clone(m.sorted[from:min(to, from+n)])
	m.names += len(names)
	m.queries++
	return names, nil
}

func (m *memoryLister) ListVersion(context.Context) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return int64(len(m.order)) + m.skipped, nil
}

func (m *memoryLister) ListedSince(_ context.Context, since int64, n int) ([]string, int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	to := min(int(since)+n, len(m.order))
	names := slices.Clone(m.order[since:to])
	m.names += len(names)
	m.queries++
	return names, int64(to), nil
}

// repositories returns a Lister of n repositories, whose names are repoName(0), repoName(1), and so
// on.
func repositories(n int) *memoryLister {
	m := &memoryLister{}
	names := make([]string, n)
	for i := range names {
		names[i] = repoName(i)
	}
	m.list(names...)
	return m
}

func repoName(i int) string { return fmt.Sprintf("r/%07d", i) }

// numberOf is the inverse of repoName. It returns -1 for other names.
func numberOf(name string) int {
	text, ok := strings.CutPrefix(name, "r/")
	i, err := strconv.Atoi(text)
	if !ok || err != nil {
		return -1
	}
	return i
}

// viewCounter makes views and counts how often they are asked.
type viewCounter struct {
	mu sync.Mutex
	n  int
}

func (d *viewCounter) view(key string, allows func(name string) bool) auth.View {
	return auth.View{Key: key, Allows: func(name string) bool {
		d.mu.Lock()
		d.n++
		d.mu.Unlock()
		return allows(name)
	}}
}

// cost is the cost of requests.
type cost struct{ names, queries, decisions int }

// measure returns the cost of a call.
func measure(m *memoryLister, d *viewCounter, call func()) cost {
	m.mu.Lock()
	m.names, m.queries = 0, 0
	m.mu.Unlock()
	d.n = 0
	call()
	return cost{m.names, m.queries, d.n}
}

func mustPage(t testing.TB, c *Catalog, v auth.View, after string, n int) ([]string, bool) {
	t.Helper()
	names, more, err := c.Page(t.Context(), v, after, n)
	if err != nil {
		t.Fatal(err)
	}
	return names, more
}
