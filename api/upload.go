package api

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/api/web"
	"github.com/berth-registry/berth/manifest"
	"github.com/berth-registry/berth/storage"
)

// postUpload mounts a blob, stores one whose bytes are all in the request, or opens an upload
// session (spec, "Pushing blobs" and "Mounting a blob from another repository"). A mount that finds
// no blob continues with one of the others. A digest without a body announces the blob that the
// session will be closed with.
func (a *API) postUpload(w *web.Response, r *request) error {
	q, err := r.uploadQuery()
	if err != nil {
		return err
	}
	if q.mount != "" {
		blob, err := a.mount(w, r, q)
		if err == nil {
			return a.writeCreated(w, r, blob.Digest)
		}
		if !errors.Is(err, storage.ErrBlobUnknown) {
			return err
		}
		a.releaseAudit(r) // do not hold room while a body is received
	}
	if q.digest != "" && (r.ContentLength != 0 || isOfNothing(q.digest)) {
		return a.postBlob(w, r, q.digest)
	}
	up, err := a.registry.CreateUpload(r.Context(), a.uploadCaller(r), r.repo, q.algorithm)
	if err != nil {
		return err
	}
	a.setProgress(w, r, up)
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// isOfNothing reports whether d is the digest of the empty blob.
func isOfNothing(d digest.Digest) bool { return d == d.Algorithm().FromBytes(nil) }

// postBlob stores the blob in the request's body (spec, "Pushing a blob monolithically").
func (a *API) postBlob(w *web.Response, r *request, d digest.Digest) error {
	chunk, err := a.chunk(w, r)
	if err != nil {
		return err
	}
	if chunk.Offset > 0 {
		return manifest.Errorf(storage.ErrRangeInvalid, "a blob that comes whole starts at 0, not at %d", chunk.Offset)
	}
	blob, err := a.registry.PutBlob(r.Context(), a.uploadCaller(r), r.repo, d, chunk)
	if err != nil {
		return err
	}
	return a.writeCreated(w, r, blob.Digest)
}

// uploadCaller returns the owner of a new upload session, and the account or network it is charged
// to.
func (a *API) uploadCaller(r *request) storage.Caller {
	return storage.Caller{Owner: r.caller.Owner(), Charged: a.charged(r).String()}
}

// getUpload sends the offset of an upload session.
func (a *API) getUpload(w *web.Response, r *request) error {
	up, err := a.registry.Upload(r.Context(), r.caller.Owner(), r.repo, r.upload)
	if err != nil {
		return err
	}
	a.setProgress(w, r, up)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// patchUpload adds a chunk to an upload session (spec, "Pushing a blob in chunks").
func (a *API) patchUpload(w *web.Response, r *request) error {
	chunk, err := a.chunk(w, r)
	if err != nil {
		return a.withProgress(w, r, err)
	}
	chunk.Confirm = func() error { return a.reauthorize(w, r) } // a chunk has no audit line
	up, err := a.registry.Append(r.Context(), r.caller.Owner(), r.repo, r.upload, chunk)
	if up.ID != "" { // also with an error: the bytes that arrived are kept
		a.setProgress(w, r, up)
	}
	if err != nil {
		return err
	}
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// putUpload adds the last chunk, which may be empty, and commits the upload session.
func (a *API) putUpload(w *web.Response, r *request) error {
	q, err := r.parameters()
	if err != nil {
		return err
	}
	d, err := q.digest("digest")
	if err != nil {
		return err
	}
	if d == "" {
		return manifest.Errorf(manifest.ErrDigestInvalid, "closing an upload takes the parameter digest")
	}
	chunk, err := a.chunk(w, r)
	if err != nil {
		return a.withProgress(w, r, err)
	}
	blob, err := a.registry.Commit(r.Context(), r.caller.Owner(), r.repo, r.upload, d, chunk)
	if err != nil {
		return a.withProgress(w, r, err)
	}
	return a.writeCreated(w, r, blob.Digest)
}

// withProgress returns err. If a chunk starts at the wrong offset it sets the header fields that
// tell the right one.
func (a *API) withProgress(w *web.Response, r *request, err error) error {
	if errors.Is(err, storage.ErrRangeInvalid) {
		up, lookup := a.registry.Upload(r.Context(), r.caller.Owner(), r.repo, r.upload)
		if lookup != nil {
			return lookup
		}
		a.setProgress(w, r, up)
	}
	return err
}

// deleteUpload cancels an upload session.
func (a *API) deleteUpload(w *web.Response, r *request) error {
	if err := a.registry.CancelUpload(r.Context(), r.caller.Owner(), r.repo, r.upload); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// setProgress sets the header fields with the location and size of an upload session. An empty one
// has the Range "0-0", as one with a single byte has: Docker's clients expect that.
func (a *API) setProgress(w *web.Response, r *request, up storage.Upload) {
	h := w.Header()
	h.Set("Location", a.locationBase(r.origin)+"/v2/"+r.repo+"/blobs/uploads/"+url.PathEscape(up.ID))
	h.Set("Range", "0-"+strconv.FormatInt(max(up.Size-1, 0), 10))
	h.Set("Docker-Upload-Uuid", up.ID)
}

// uploadQuery is the parsed query of a POST to uploads.
type uploadQuery struct {
	digest    digest.Digest
	mount     digest.Digest // "" when there is nothing to try
	from      string
	algorithm digest.Algorithm // of the session
}

func (r *request) uploadQuery() (uploadQuery, error) {
	var u uploadQuery
	q, err := r.parameters()
	if err != nil {
		return u, err
	}
	if err := u.setMount(q); err != nil {
		return u, err
	}
	if u.digest, err = q.digest("digest"); err != nil {
		return u, err
	}
	name, err := q.single("digest-algorithm", manifest.ErrDigestInvalid)
	switch {
	case err != nil:
		return u, err
	case name != "":
		u.algorithm, err = manifest.ParseAlgorithm(name)
	case u.digest != "":
		u.algorithm = u.digest.Algorithm()
	}
	return u, err
}

// setMount sets the fields for a mount. Arguments that cannot be used are no error: a mount saves
// the client an upload, which is what it does instead (Docker's registry API, "Cross Repository
// Blob Mount").
func (u *uploadQuery) setMount(q parameters) error {
	mount, err := q.single("mount", manifest.ErrDigestInvalid)
	if err != nil {
		return err
	}
	from, err := q.single("from", manifest.ErrNameInvalid)
	if err != nil {
		return err
	}
	if mount == "" { // most requests: do not make the error of a bad digest
		return nil
	}
	if d, err := manifest.ParseDigest(mount); err == nil {
		u.algorithm = d.Algorithm()
		if from == "" || manifest.CheckName(from) == nil {
			u.mount, u.from = d, from
		}
	}
	return nil
}

// chunk returns the request's body with its offset and length, from Content-Range and
// Content-Length.
func (a *API) chunk(w *web.Response, r *request) (storage.Chunk, error) {
	c := storage.Chunk{Offset: -1, Length: r.ContentLength, Confirm: func() error { return a.confirm(w, r) }}
	if r.body != nil {
		c.Body = r.body
	}
	values := r.Header["Content-Range"]
	if len(values) == 0 {
		return c, nil
	}
	start, end, ok := parseContentRange(values[0])
	if !ok || len(values) > 1 {
		return c, manifest.Errorf(storage.ErrUploadInvalid, "Content-Range is %q, expected <first byte>-<last byte>", web.Shorten(strings.Join(values, ", ")))
	}
	if end < start {
		return c, manifest.Errorf(storage.ErrRangeInvalid, "Content-Range ends at %d, before its start at %d", end, start)
	}
	length := end - start + 1
	if c.Length >= 0 && c.Length != length {
		return c, manifest.Errorf(storage.ErrSizeInvalid, "Content-Range %d-%d is %d bytes, but Content-Length is %d", start, end, length, c.Length)
	}
	c.Offset, c.Length = start, length
	return c, nil
}

// parseContentRange parses the range of a chunk, "0-99" (spec, "Pushing a blob in chunks"), or in
// HTTP's form, "bytes 0-99/200" or "bytes 0-99/*".
func parseContentRange(s string) (start, end int64, ok bool) {
	if rest, found := strings.CutPrefix(s, "bytes"); found {
		s = strings.TrimLeft(rest, " =")
	}
	s, _, _ = strings.Cut(s, "/")
	first, last, found := strings.Cut(strings.TrimSpace(s), "-")
	if !found {
		return 0, 0, false
	}
	start, ok = parseOffset(first)
	if !ok {
		return 0, 0, false
	}
	end, ok = parseOffset(last)
	return start, end, ok
}

// parseOffset parses decimal digits, without sign or space.
func parseOffset(s string) (int64, bool) {
	n, err := strconv.ParseUint(s, 10, 62)
	return int64(n), err == nil
}
