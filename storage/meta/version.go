package meta

import (
	"hash/maphash"
	"sync/atomic"
)

// everyRepository stands for all of them where a change is not one repository's.
const everyRepository = ""

// versions counts the changes of repositories, so that what was read from rows can be known to hold
// still. It sees the transactions of this process: the one that may serve an SQLite database.
type versions struct {
	seed  maphash.Seed
	every atomic.Uint64
	some  [4096]atomic.Uint64 // repositories share one now and then, and lose a little by it
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

// Version returns a number that grows with each change of a repository's content, before the change
// is acknowledged. What was read after Version returned a number holds for as long as it returns
// the same.
func (d *DB) Version(repo string) uint64 {
	return d.versions.of(repo).Load() + d.versions.every.Load()
}
