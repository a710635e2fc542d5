package meta

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"testing"

	"github.com/berth-registry/berth/internal/db"
)

// What is sought under a text that no row can have is not there, on every engine.
func (s *suite) testUnstorable() {
	s.fill()
	ctx := s.Context()
	for _, text := range []string{"a\x00", "\x00", "\xff", "lat\xed\xa0\x80"} {
		if _, err := s.db.Upload(ctx, "a", text); !errors.Is(err, fs.ErrNotExist) {
			s.Errorf("an upload: %v", err)
		}
		err := s.db.Tx(ctx, func(tx *Tx) error { _, err := tx.BeginPart(Upload{ID: text, Repository: "a"}, 70); return err })
		if !errors.Is(err, fs.ErrNotExist) {
			s.Errorf("a part of an upload: %v", err)
		}
		q := ReferrerQuery{Repository: "a", Subject: "s", ArtifactType: text}
		if e, err := s.db.Extent(ctx, q, "", 9, 99); e.End != "" || err != nil {
			s.Errorf("the extent of referrers: %v, %v", e, err)
		}
		if page, err := s.db.Referrers(ctx, q, "", Extent{End: "z"}); page != nil || err != nil {
			s.Errorf("referrers: %v, %v", page, err)
		}
		if _, err := s.db.Extent(ctx, ReferrerQuery{Repository: "a", Subject: "s"}, text, 9, 99); err != nil {
			s.Errorf("the extent after %q: %v", text, err)
		}
	}
	for last, want := range map[string]string{"\x00": "[latest other v1]", "latest\x00": "[other v1]", "lat\xff": "[other v1]", "\xff": "[]"} {
		if names, err := s.db.Tags(ctx, "a", last, 9); fmt.Sprint(names) != want || err != nil {
			s.Errorf("tags after %q: %v, %v", last, names, err)
		}
	}
	if names, err := s.db.Repositories(ctx, "a\x00", "", 9); fmt.Sprint(names) != "[b f]" || err != nil {
		s.Errorf("repositories: %v, %v", names, err)
	}
}

// TestStorableBound checks that the bound that is asked for selects the names that follow the text
// of the client in byte order.
func TestStorableBound(t *testing.T) {
	names := []string{"a", "a-b", "a~", "ab", "b", "z~"}
	for _, last := range []string{
		"", "a", "a\x00", "a\x00z", "\x00", "a\xff", "a\xffz", "\xff", "\xc3", "ä", "aä\xff", "a\xffä\x00", "a\ufffd", "z\xff", "a\xed\xa0\x80",
	} {
		bound := storableBound(last)
		follow := func(s string) []string {
			return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return name <= s })
		}
		if got, want := follow(bound), follow(last); !db.Storable(bound) || !slices.Equal(got, want) {
			t.Errorf("%q becomes %q, which %q follow, want %q", last, bound, got, want)
		}
	}
}
