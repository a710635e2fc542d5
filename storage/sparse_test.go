package storage

import (
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

func TestSparse(t *testing.T) {
	for _, allow := range []AllowMissing{MissingNone, MissingIndex, MissingAll} {
		each(t, Options{AllowMissing: allow}, func(w *world) {
			ctx := t.Context()
			image := w.image("", "config", "layer")
			index := w.index(image)
			check := func(err error, allowed bool) {
				t.Helper()
				if !allowed {
					w.want(ErrManifestBlobUnknown, err)
				} else {
					w.must(err)
				}
			}
			check(w.PutManifest(ctx, "", "a", index, nil, Condition{}), allow != MissingNone)
			check(w.PutManifest(ctx, "", "a", image, nil, Condition{}), allow == MissingAll)
			if allow != MissingAll {
				return
			}
			layer := digest.FromString("layer")
			_, err := w.Blob(ctx, "a", layer)
			w.want(ErrBlobUnknown, err)
			w.want(ErrBlobUnknown, w.DeleteBlob(ctx, "", "a", layer))
			w.push("a", "layer")
			w.want(ErrDenied, w.DeleteBlob(ctx, "", "a", layer))
			w.want(ErrDenied, w.DeleteManifest(ctx, "", "a", image.Digest))
			w.must(w.DeleteManifest(ctx, "", "a", index.Digest))
			w.must(w.DeleteManifest(ctx, "", "a", image.Digest))
			w.must(w.DeleteBlob(ctx, "", "a", layer))
			// No placeholder is left: a manifest may link the same digest with another size.
			w.put("a", w.parse(image.MediaType, []byte(strings.Replace(string(image.Payload), `"size":5`, `"size":9`, 1))))
			w.push("a", "layer")
			if !strings.Contains(w.log.String(), "promised=9 size=5") {
				t.Errorf("another size than promised is not in the log: %s", w.log)
			}
			w.wantBlob("a", "layer")
		})
	}
}
