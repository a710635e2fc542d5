package meta

import (
	"context"
	"io/fs"

	"github.com/berth-registry/berth/internal/db/schema"
)

// A new database has no identity and no blob; the identity is given once.
func (s *suite) testRegistry() {
	identity := schema.Registry{ID: "r", Incarnation: "i"}
	registry := func(ctx context.Context) (any, error) { return s.db.Registry(ctx) }
	hasBlobs := func(ctx context.Context) (any, error) { return s.db.HasBlobs(ctx) }
	create := func(tx *Tx) error { return tx.CreateRegistry(identity) }

	s.reads([]read{{"no identity", registry, nil, fs.ErrNotExist}, {"no blob", hasBlobs, false, nil}})
	s.changes([]change{{what: "an identity is no row of content", call: nothing(create)}})
	write(s.T, s.db, create)
	s.fill()
	s.reads([]read{{"the identity", registry, identity, nil}, {"blobs", hasBlobs, true, nil}})
	s.changes([]change{{what: "a second identity", call: nothing(func(tx *Tx) error {
		return tx.CreateRegistry(schema.Registry{ID: "s", Incarnation: "j"})
	})}})
	s.reads([]read{{"the identity stays", registry, identity, nil}})
	if got, err := s.db.Now(s.Context()); got < 1e15 || err != nil {
		s.Errorf("the time is %d, %v", got, err)
	}

	if got := s.db.Exclusive(); got != s.faulty.Exclusive() {
		s.Errorf("it is exclusive: %t, which its engine is not", got)
	}
}
