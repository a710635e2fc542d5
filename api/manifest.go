package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/semaphore"

	"github.com/berth-registry/berth/manifest"
	"github.com/berth-registry/berth/storage"
)

// memoryWait is how long a request waits for memory that other manifests hold.
const memoryWait = 10 * time.Second

// parseFactor is how many times its size a manifest takes, roughly, while it is parsed and stored. Those that are at
// this stage together may have that part of ManifestMemory, whatever clients do: none of them waits for its client.
const parseFactor = 4

// getManifest sends a manifest as it was pushed, whatever Accept says (spec,
// "Pulling manifests"). HEAD sends the same header.
func (a *API) getManifest(w *response, r *request) error {
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
	release, err := a.memory.reserve(r.Context(), m.Size)
	if err != nil {
		return err
	}
	defer release()
	payload, err := a.registry.Payload(r.Context(), m)
	if err != nil {
		return err
	}
	return writeBody(w, http.StatusOK, m.MediaType, payload)
}

// putManifest stores a manifest and points tags at it (spec, "Pushing
// Manifests"): the one in the path, and those of the parameter "tag".
func (a *API) putManifest(w *response, r *request) error {
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
	done, err := a.parsing.reserve(r.Context(), int64(len(payload)))
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
func (a *API) deleteManifest(w *response, r *request) error {
	cond, err := r.condition()
	if err != nil {
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

// readManifest reads the request's body into memory that it reserved before.
// Without an error the caller must call release when it is done with payload.
func (a *API) readManifest(r *request) (payload []byte, release func(), err error) {
	limit := a.options.MaxManifest
	if r.ContentLength > limit {
		return nil, nil, manifest.Errorf(errTooLarge, "the manifest has %d bytes, at most %d are taken", r.ContentLength, limit)
	}
	if r.body == nil {
		return nil, func() {}, nil
	}
	size := r.ContentLength
	if size < 0 {
		size = limit
	}
	release, err = a.memory.reserve(r.Context(), size)
	if err != nil {
		return nil, nil, err
	}
	if r.ContentLength >= 0 {
		payload = make([]byte, size)
		_, err = io.ReadFull(r.body, payload)
	} else {
		payload, err = io.ReadAll(io.LimitReader(r.body, limit+1))
	}
	switch {
	case err != nil:
		err = manifest.Errorf(storage.ErrClientBody, "the body ended after %d bytes: %v", r.body.read.Load(), err)
	case int64(len(payload)) > limit:
		err = manifest.Errorf(errTooLarge, "the manifest has more than %d bytes", limit)
	default:
		return payload, release, nil
	}
	release()
	return nil, nil, err
}

// budget is an amount of memory that requests share.
type budget struct {
	all  int64 // bytes
	free *semaphore.Weighted
}

func newBudget(bytes int64) budget {
	return budget{all: bytes, free: semaphore.NewWeighted(bytes)}
}

// reserve takes n bytes, or all. It waits, for a while, for other requests to
// give theirs back.
func (b budget) reserve(ctx context.Context, n int64) (release func(), err error) {
	n = min(n, b.all)
	if !b.free.TryAcquire(n) {
		ctx, cancel := context.WithTimeout(ctx, memoryWait)
		defer cancel()
		if err := b.free.Acquire(ctx, n); err != nil {
			if errors.Is(err, context.DeadlineExceeded) {
				return nil, errBusy
			}
			return nil, err
		}
	}
	return func() { b.free.Release(n) }, nil
}
