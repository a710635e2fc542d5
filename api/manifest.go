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

// parseFactor is roughly the memory that parsing and storing a manifest takes, as a multiple of its
// size. The manifests in this stage together have ManifestMemory/parseFactor. Requests in this
// stage do not wait for their clients.
const parseFactor = 4

// getManifest sends a manifest as it was pushed, regardless of Accept (spec, "Pulling manifests").
// HEAD sends the same header.
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

// payload returns the payload of a manifest. Its memory is accounted for until release is called,
// either by the registry's cache or by sendBudget.
func (a *API) payload(r *request, m storage.Manifest) (payload []byte, release func(), err error) {
	if payload, release, ok := m.CachedPayload(); ok {
		return payload, release, nil
	}
	if release, err = a.sendBudget.reserve(r.Context(), a.charged(r), m.Size); err != nil {
		return nil, nil, err
	}
	if payload, err = m.Payload(r.Context()); err != nil {
		release()
		return nil, nil, err
	}
	return payload, release, nil
}

// putManifest stores a manifest and sets tags (spec, "Pushing Manifests"): the tag in the path, and
// those of the parameter "tag".
func (a *API) putManifest(w *web.Response, r *request) error {
	tags, err := r.tags()
	if err != nil {
		return err
	}
	cond, err := r.condition()
	if err != nil {
		return err
	}
	if err := r.checkEncoding(w); err != nil {
		return err
	}
	payload, release, err := a.readManifest(r)
	if err != nil {
		return err
	}
	defer release()
	done, err := a.parseBudget.reserve(r.Context(), a.charged(r), int64(len(payload)))
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
	h.Set("Location", a.locationBase(r.origin)+"/v2/"+r.repo+"/manifests/"+m.Digest.String())
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

// deleteManifest removes a tag or, for a digest, a manifest with its tags (spec, "Deleting tags"
// and "Deleting Manifests").
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
	return writeAccepted(w)
}

func (a *API) deleteByDigest(r *request, d digest.Digest, cond storage.Condition) error {
	// A digest always refers to the same manifest, so the condition needs no transaction.
	if cond.IfNoneMatch || cond.IfMatch != nil && !slices.Contains(cond.IfMatch, d) {
		return manifest.Errorf(storage.ErrPrecondition, "a manifest that is deleted by its digest has no other")
	}
	return a.registry.DeleteManifest(r.Context(), r.caller.Owner(), r.repo, d)
}

// maxTags is the maximum number of tags in one request. The answer has a header field for each, and
// some clients reject an answer with 100 fields.
const maxTags = 50

// tags returns the values of the parameter "tag", which may be repeated, without duplicates.
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
	// headBytes is the number of bytes of a manifest that are read before memory for all of it is
	// reserved. Most manifests are smaller.
	headBytes = 64 << 10
	// manifestTimeout is the time in which the body of a manifest must arrive. Each headBytes that
	// arrive extend it by manifestTimeoutStep.
	manifestTimeout     = time.Minute
	manifestTimeoutStep = time.Second
)

// readManifest reads the request's body. If err is nil the caller must call release when it is done
// with payload.
//
// The first headBytes have their own budget. For a longer body that reservation is released, and
// memory for the announced size is reserved in one step: no request holds a reservation while it
// waits for another. The time for the whole body is limited, so that a slow client does not hold
// memory for long.
func (a *API) readManifest(r *request) (payload []byte, release func(), err error) {
	limit := a.options.MaxManifest
	if r.ContentLength > limit {
		return nil, nil, manifest.Errorf(errManifestTooLarge, "the manifest has %d bytes, at most %d are taken", r.ContentLength, limit)
	}
	if r.body == nil {
		return nil, func() {}, nil
	}
	r.body.LimitTime(manifestTimeout, manifestTimeoutStep, headBytes)
	size, known := r.ContentLength, r.ContentLength >= 0
	if !known {
		size = limit
	}
	head := min(size, headBytes)
	if release, err = a.headBudget.reserve(r.Context(), a.charged(r), head); err != nil {
		return nil, nil, err
	}
	payload, err = r.readBody(nil, head)
	if err == nil && int64(len(payload)) == head && (head < size || !known) {
		release()
		if release, err = a.receiveBudget.reserve(r.Context(), a.charged(r), size); err != nil {
			return nil, nil, err
		}
		if !known {
			size++ // one more byte shows that the manifest is too large
		}
		payload, err = r.readBody(payload, size)
	}
	if err == nil && int64(len(payload)) > limit {
		err = manifest.Errorf(errManifestTooLarge, "the manifest has more than %d bytes", limit)
	}
	if err != nil {
		release()
		return nil, nil, err
	}
	return payload, release, nil
}

// readBody reads the body after the bytes in begun, up to n bytes in total, and returns all of
// them. A shorter body is not an error.
func (r *request) readBody(begun []byte, n int64) ([]byte, error) {
	b := bytes.NewBuffer(make([]byte, 0, n+bytes.MinRead)) // large enough never to grow
	b.Write(begun)
	if _, err := b.ReadFrom(io.LimitReader(r.body, n-int64(len(begun)))); err != nil {
		return nil, manifest.Errorf(storage.ErrClientBody,
			"the body ended after %d bytes: %.200v", r.body.Received(), err)
	}
	return b.Bytes(), nil
}
