package api

import (
	"bytes"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/api/web"
	"github.com/berth-registry/berth/manifest"
	"github.com/berth-registry/berth/storage"
)

// parseFactor is how many times its size a manifest takes, roughly, while it is parsed and stored.
// Those that are at this stage together may have that part of ManifestMemory, whatever clients do:
// none of them waits for its client.
const parseFactor = 4

// getManifest sends a manifest as it was pushed, whatever Accept says (spec,
// "Pulling manifests"). HEAD sends the same header.
func (a *API) getManifest(w *web.Response, r *request) error {
	m, err := a.registry.Manifest(r.Context(), r.repo, r.ref)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Docker-Content-Digest", m.Digest.String())
	h.Set("Etag", etag(m.Digest))
	if notModified(w, r, m.Digest) {
		return nil
	}
	if r.Method == http.MethodHead {
		h.Set("Content-Type", m.MediaType)
		h.Set("Content-Length", strconv.FormatInt(m.Size, 10))
		w.WriteHeader(http.StatusOK)
		return nil
	}
	payload, release, err := a.payload(r, m)
	if err != nil {
		return err
	}
	defer release()
	return writeBody(w, http.StatusOK, m.MediaType, payload)
}

// payload returns the bytes of a manifest. Until release is called the memory for them is accounted
// for: by the registry's cache, or else by the budget of answers.
func (a *API) payload(r *request, m storage.Manifest) (payload []byte, release func(), err error) {
	if payload, release, ok := m.CachedPayload(); ok {
		return payload, release, nil
	}
	if release, err = a.answers.reserve(r.Context(), a.payer(r), m.Size); err != nil {
		return nil, nil, err
	}
	if payload, err = m.Payload(r.Context()); err != nil {
		release()
		return nil, nil, err
	}
	return payload, release, nil
}

// putManifest stores a manifest and points tags at it (spec, "Pushing
// Manifests"): the one in the path, and those of the parameter "tag".
func (a *API) putManifest(w *web.Response, r *request) error {
	tags, err := r.tags()
	if err != nil {
		return err
	}
	cond, err := r.condition()
	if err != nil {
		return err
	}
	payload, release, err := a.readManifest(r)
	if err != nil {
		return err
	}
	defer release()
	done, err := a.parsing.reserve(r.Context(), a.payer(r), int64(len(payload)))
	if err != nil {
		return err
	}
	defer done()
	m, err := manifest.Parse(r.Header.Get("Content-Type"), payload, r.ref.Digest)
	if err != nil {
		return err
	}
	all := tags
	if r.ref.Tag != "" && !slices.Contains(tags, r.ref.Tag) {
		all = append([]string{r.ref.Tag}, tags...)
	}
	if err := a.confirm(w, r); err != nil {
		return err
	}
	if err := a.registry.PutManifest(r.Context(), r.caller.Owner(), r.repo, m, all, cond); err != nil {
		return err
	}
	h := w.Header()
	h.Set("Location", "/v2/"+r.repo+"/manifests/"+m.Digest.String())
	h.Set("Docker-Content-Digest", m.Digest.String())
	for _, tag := range tags {
		h.Add("Oci-Tag", tag)
	}
	if m.Subject != "" {
		h.Set("Oci-Subject", m.Subject.String())
	}
	h.Set("Content-Length", "0")
	w.WriteHeader(http.StatusCreated)
	return nil
}

// deleteManifest removes a tag or, by its digest, a manifest with its tags
// (spec, "Deleting tags" and "Deleting Manifests").
func (a *API) deleteManifest(w *web.Response, r *request) error {
	cond, err := r.condition()
	if err != nil {
		return err
	}
	if err := a.reserveAudit(r); err != nil {
		return err
	}
	if r.ref.Tag != "" {
		err = a.registry.DeleteTag(r.Context(), r.caller.Owner(), r.repo, r.ref.Tag, cond)
	} else {
		err = a.deleteByDigest(r, r.ref.Digest, cond)
	}
	if err != nil {
		return err
	}
	return accepted(w)
}

func (a *API) deleteByDigest(r *request, d digest.Digest, cond storage.Condition) error {
	// What a digest leads to is that or nothing, so this needs no transaction.
	if cond.IfNoneMatch || cond.IfMatch != nil && !slices.Contains(cond.IfMatch, d) {
		return manifest.Errorf(storage.ErrPrecondition, "a manifest that is deleted by its digest has no other")
	}
	return a.registry.DeleteManifest(r.Context(), r.caller.Owner(), r.repo, d)
}

// maxTags is how many tags one request may set. The answer names each in a header field of its own,
// and some clients give up on an answer with 100 fields.
const maxTags = 50

// tags reads the parameter "tag", which may be repeated, and returns each tag once.
func (r *request) tags() ([]string, error) {
	q, err := r.parameters()
	if err != nil {
		return nil, err
	}
	if n := len(q["tag"]); n > maxTags {
		return nil, manifest.Errorf(manifest.ErrTagInvalid, "the query has %d parameters tag, at most %d are taken: set the others with further requests", n, maxTags)
	}
	var tags []string
	for _, tag := range q["tag"] {
		if err := manifest.CheckTag(tag); err != nil {
			return nil, err
		}
		if !slices.Contains(tags, tag) {
			tags = append(tags, tag)
		}
	}
	return tags, nil
}

const (
	// headBytes is how much of a manifest is read before memory for all of it is reserved. Most
	// manifests are smaller.
	headBytes = 64 << 10
	// manifestTime is how long a manifest's body may take; each headBytes of it give it
	// manifestStep more.
	manifestTime = time.Minute
	manifestStep = time.Second
)

// readManifest reads the request's body. Without an error the caller must call release when it is
// done with payload.
//
// The first headBytes come out of a budget of their own. If there are more, memory for all of the
// announced size is reserved in one step, so that no request waits for memory while it holds a part
// of what it needs. The time for the whole body is limited, so that no client keeps memory from the
// others by sending slowly.
func (a *API) readManifest(r *request) (payload []byte, release func(), err error) {
	limit := a.options.MaxManifest
	if r.ContentLength > limit {
		return nil, nil, manifest.Errorf(errTooLarge, "the manifest has %d bytes, at most %d are taken", r.ContentLength, limit)
	}
	if r.body == nil {
		return nil, func() {}, nil
	}
	r.body.LimitTime(manifestTime, manifestStep, headBytes)
	size, known := r.ContentLength, r.ContentLength >= 0
	if !known {
		size = limit
	}
	head := min(size, headBytes)
	if release, err = a.heads.reserve(r.Context(), a.payer(r), head); err != nil {
		return nil, nil, err
	}
	payload, err = r.readBody(nil, head)
	if err == nil && int64(len(payload)) == head && (head < size || !known) {
		release()
		if release, err = a.received.reserve(r.Context(), a.payer(r), size); err != nil {
			return nil, nil, err
		}
		if !known {
			size++ // one byte more shows that it is too large
		}
		payload, err = r.readBody(payload, size)
	}
	if err == nil && int64(len(payload)) > limit {
		err = manifest.Errorf(errTooLarge, "the manifest has more than %d bytes", limit)
	}
	if err != nil {
		release()
		return nil, nil, err
	}
	return payload, release, nil
}

// readBody returns what it was given and what of the body follows, n bytes at most in all. A body
// that ends before is no error.
func (r *request) readBody(begun []byte, n int64) ([]byte, error) {
	b := bytes.NewBuffer(make([]byte, 0, n+bytes.MinRead)) // which never grows
	b.Write(begun)
	if _, err := b.ReadFrom(io.LimitReader(r.body, n-int64(len(begun)))); err != nil {
		return nil, manifest.Errorf(storage.ErrClientBody, "the body ended after %d bytes: %v", r.body.Received(), err)
	}
	return b.Bytes(), nil
}
