package bucket

import (
	"fmt"
	"io/fs"
	"iter"
	"path/filepath"

	"github.com/berth-registry/berth/internal/durable"
)

// dirMode keeps other users of the machine from the images, whatever the umask.
const dirMode fs.FileMode = 0o750

// makeDirs makes the bucket's directory with its missing parents and the directories of its keys, so that their entries
// are durable before an object is put into them. Making the 256 here spares every Put an fsync of content/.
func makeDirs(root string) error {
	content := filepath.Join(root, contentDir)
	if err := durable.MakeDir(root, dirMode); err != nil {
		return err
	}
	if err := durable.MakeDir(content, dirMode); err != nil {
		return err
	}
	return durable.MakeDirsIn(content, contentDirs(), dirMode)
}

// contentDirs yields the names of the directories below content/.
func contentDirs() iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range 256 {
			if !yield(fmt.Sprintf("%02x", i)) {
				return
			}
		}
	}
}
