package meta

import (
	"hash/maphash"
	"sync/atomic"
)

// everyRepository is the argument of markChanged for a change that concerns all repositories.
const everyRepository = ""

// versions counts the changes of repositories, so that a cache of rows can be validated. It counts
// the transactions of this process, which are all if the engine is exclusive.
type versions struct {
	seed  maphash.Seed
	every atomic.Uint64
	some  [4096]atomic.Uint64 // by hash: a repository may share its counter, and grow with another
}

func newVersions() *versions { return &versions{seed: maphash.MakeSeed()} }

func (v *versions) of(repo string) *atomic.Uint64 {
	return &v.some[maphash.String(v.seed, repo)%uint64(len(v.some))]
}

func (v *versions) change(repos []string) {
	for _, repo := range repos {
		if repo == everyRepository {
			v.every.Add(1)
		} else {
			v.of(repo).Add(1)
		}
	}
}

// Version returns a number that grows with each change of a repository's contents, manifests or
// tags, before the caller of Tx learns that the change is committed. What is read after Version
// returned a number is valid for as long as Version returns the same number.
func (d *DB) Version(repo string) uint64 {
	return d.versions.of(repo).Load() + d.versions.every.Load()
}
