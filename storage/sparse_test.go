package storage

import (
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

func TestSparse(t *testing.T) {
	for _, allow := range []AllowMissing{MissingNone, MissingIndex, MissingAll} {
		onEachStore(t, Options{AllowMissing: allow}, func(tr *testRegistry) {
			ctx := t.Context()
			image := tr.image("", "config", "layer")
			index := tr.index(image)
			check := func(err error, allowed bool) {
				t.Helper()
				if !allowed {
					tr.want(ErrManifestBlobUnknown, err)
				} else {
					tr.must(err)
				}
			}
			check(tr.PutManifest(ctx, "", "a", index, nil, Condition{}), allow != MissingNone)
			check(tr.PutManifest(ctx, "", "a", image, nil, Condition{}), allow == MissingAll)
			if allow != MissingAll {
				return
			}
			layer := digest.FromString("layer")
			_, err := tr.Blob(ctx, "a", layer)
			tr.want(ErrBlobUnknown, err)
			tr.want(ErrBlobUnknown, tr.DeleteBlob(ctx, "", "a", layer))
			tr.push("a", "layer")
			tr.want(ErrDenied, tr.DeleteBlob(ctx, "", "a", layer))
			tr.want(ErrDenied, tr.DeleteManifest(ctx, "", "a", image.Digest))
			tr.must(tr.DeleteManifest(ctx, "", "a", index.Digest))
			tr.must(tr.DeleteManifest(ctx, "", "a", image.Digest))
			tr.must(tr.DeleteBlob(ctx, "", "a", layer))
			// No placeholder is left: a manifest may link the same digest with another size.
			tr.put("a", tr.parse(image.MediaType, []byte(strings.Replace(string(image.Payload), `"size":5`, `"size":9`, 1))))
			tr.push("a", "layer")
			if !strings.Contains(tr.log.String(), "promised=9 size=5") {
				t.Errorf("another size than promised is not in the log: %s", tr.log)
			}
			tr.wantBlob("a", "layer")
		})
	}
}
