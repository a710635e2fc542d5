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

var _ Rows = (storage.Lists)(nil)

// memory is Rows in memory that count what is read.
type memory struct {
	mu      sync.Mutex
	sorted  []string
	order   []string // of their listing
	rows    int      // that were read
	queries int
	skipped int64                     // numbers of the version that no repository has, at the end
	asked   func(after string, n int) // called for each query of names, if set
}

func (m *memory) list(names ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.order = append(m.order, names...)
	m.sorted = append(m.sorted, names...)
	slices.Sort(m.sorted)
}

func (m *memory) Repositories(_ context.Context, after, before string, n int) ([]string, error) {
	if m.asked != nil {
		m.asked(after, n)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	from := sort.Search(len(m.sorted), func(i int) bool { return m.sorted[i] > after })
	to := len(m.sorted)
	if before != "" {
		to = max(from, sort.SearchStrings(m.sorted, before))
	}
	names := slices.Clone(m.sorted[from:min(to, from+n)])
	m.rows += len(names)
	m.queries++
	return names, nil
}

func (m *memory) ListVersion(context.Context) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return int64(len(m.order)) + m.skipped, nil
}

func (m *memory) Listed(_ context.Context, since int64, n int) ([]string, int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	to := min(int(since)+n, len(m.order))
	names := slices.Clone(m.order[since:to])
	m.rows += len(names)
	m.queries++
	return names, int64(to), nil
}

// many are the rows of n repositories, called "r/0000000" and so on.
func many(n int) *memory {
	m := &memory{}
	names := make([]string, n)
	for i := range names {
		names[i] = repoName(i)
	}
	m.list(names...)
	return m
}

func repoName(i int) string { return fmt.Sprintf("r/%07d", i) }

// numberOf is i of repoName(i), -1 for other names.
func numberOf(name string) int {
	text, ok := strings.CutPrefix(name, "r/")
	i, err := strconv.Atoi(text)
	if !ok || err != nil {
		return -1
	}
	return i
}

// decisions is a view that counts what it is asked.
type decisions struct {
	mu sync.Mutex
	n  int
}

func (d *decisions) view(key string, allows func(name string) bool) auth.View {
	return auth.View{Key: key, Allows: func(name string) bool {
		d.mu.Lock()
		d.n++
		d.mu.Unlock()
		return allows(name)
	}}
}

// work is what requests cost.
type work struct{ rows, queries, decisions int }

// costs returns what a call costs.
func costs(m *memory, d *decisions, call func()) work {
	m.mu.Lock()
	m.rows, m.queries = 0, 0
	m.mu.Unlock()
	d.n = 0
	call()
	return work{m.rows, m.queries, d.n}
}

func mustPage(t testing.TB, c *Catalog, v auth.View, after string, n int) ([]string, bool) {
	t.Helper()
	names, more, err := c.Page(t.Context(), v, after, n)
	if err != nil {
		t.Fatal(err)
	}
	return names, more
}
