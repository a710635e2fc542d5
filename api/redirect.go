package api

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/berth-registry/berth/api/web"
	"github.com/berth-registry/berth/storage"
)

// Redirect selects the GETs of blobs that are answered with a redirect to a signed URL of the
// store, if the store signs one. The zero value selects none.
type Redirect struct {
	Expiry   time.Duration  // of the URLs; 0 for no redirects
	MinSize  int64          // of the blobs, in bytes
	Networks []netip.Prefix // of the clients; empty for all
}

// selects reports whether the GET of a blob is to be redirected. A request that the store would
// answer in another way is not: stores know neither the entity tag of a blob nor several ranges.
func (o Redirect) selects(r *request, size int64) bool {
	switch {
	case o.Expiry == 0 || r.Method != http.MethodGet || size < o.MinSize:
		return false
	case r.Header["If-Match"] != nil || r.Header["If-Unmodified-Since"] != nil:
		return false
	case strings.Contains(r.Header.Get("Range"), ","):
		return false
	}
	return len(o.Networks) == 0 ||
		slices.ContainsFunc(o.Networks, func(p netip.Prefix) bool { return p.Contains(r.origin.Addr) })
}

// redirectBlob answers with a redirect to the store, and reports whether it did. The store's answer
// has the header fields that the registry's own would have. The client sends Range again.
//
// The URL is a secret for as long as it lives, and useless after that: no cache may keep it. So
// there is no body, which would have it too.
func (a *API) redirectBlob(w *web.Response, r *request, blob storage.Blob) (done bool, err error) {
	h := w.Header()
	url, err := blob.SignURL(r.Context(), storage.SignOptions{
		Expiry:       a.options.Redirect.Expiry,
		ContentType:  h.Get("Content-Type"),
		CacheControl: h.Get("Cache-Control"),
	})
	if err != nil || url == "" {
		return false, err
	}
	h.Del("Content-Type")
	h.Del("Etag") // of the blob, which this answer does not have
	h.Set("Cache-Control", "no-store")
	h.Set("Location", url)
	h.Set("Content-Length", "0")
	w.WriteHeader(http.StatusTemporaryRedirect)
	return true, nil
}
