package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/manifest"
	"github.com/berth-registry/berth/storage/meta"
)

// Manifest implements [Manifests].
func (r *Registry) Manifest(ctx context.Context, repo string, ref manifest.Reference) (Manifest, error) {
	m, err := r.manifests.resolve(ctx, repo, ref.String(), func(ctx context.Context) (Manifest, error) {
		row, err := r.manifestRow(ctx, repo, ref)
		return Manifest{
			Digest: digest.Digest(row.Digest), MediaType: row.MediaType, ArtifactType: row.ArtifactType, Size: row.Size,
			id: row.ID, repo: repo, source: r,
		}, err
	})
	if err == nil {
		if _, damaged := r.damagedPayloads.get(m.key()); damaged {
			_, err = r.payload(ctx, m) // another process may have healed it
		}
	}
	return m, orUnknown(err, ErrManifestUnknown, "the repository has no manifest %s", ref)
}

func (r *Registry) manifestRow(ctx context.Context, repo string, ref manifest.Reference) (meta.Manifest, error) {
	if ref.Digest != "" {
		return r.db.ManifestByDigest(ctx, repo, ref.Digest.String())
	}
	return r.db.ManifestByTag(ctx, repo, ref.Tag)
}

// cachedPayload implements [Manifest.CachedPayload].
func (r *Registry) cachedPayload(m Manifest) (payload []byte, release func(), ok bool) {
	return r.payloads.pin(m.key())
}

// payload implements [Manifest.Payload].
func (r *Registry) payload(ctx context.Context, m Manifest) ([]byte, error) {
	if payload, ok := r.payloads.get(m.key()); ok {
		return payload, nil
	}
	payload, err := r.db.Payload(ctx, m.id, m.Digest.String())
	if err != nil {
		return nil, orUnknown(err, ErrManifestUnknown, "the manifest %s was deleted meanwhile", m.Digest)
	}
	if !manifest.DigestMatches(m.Digest, m.MediaType, payload) {
		if _, known := r.damagedPayloads.get(m.key()); !known {
			r.damagedPayloads.add(m.key(), struct{}{}, 0)
			r.log.Error("the payload of a manifest is damaged: a push of it heals it", "repository", m.repo, "digest", m.Digest.String())
		}
		return nil, damagedPayloadError(m.Digest)
	}
	r.damagedPayloads.take(m.key())
	r.payloads.add(m.key(), payload, len(payload))
	return payload, nil
}

// damagedPayloadsBytes is the size of the cache of damaged payloads. A payload that is evicted from
// it is found damaged again when it is next read.
const damagedPayloadsBytes = 256 << 10

// damagedPayloadError returns the error for a manifest whose payload is damaged. It is an
// ErrManifestUnknown, so that clients that look for the manifest before they push it do push it,
// which heals it.
func damagedPayloadError(d digest.Digest) error {
	return errorf(ErrManifestUnknown, "the payload of manifest %s is damaged: push it again", d)
}

// PutManifest implements [Manifests].
func (r *Registry) PutManifest(ctx context.Context, caller, repo string, m *manifest.Manifest, tags []string, cond Condition) error {
	now, id, size, promised := r.nowMicro(), int64(0), int64(0), int64(-1)
	err := r.decide(ctx, repo, func(tx *meta.Tx) error {
		repoRows, err := tx.EnsureRepo(repo)
		if err != nil {
			return err
		}
		for _, tag := range tags {
			if err := cond.check(repoRows, tag); err != nil {
				return err
			}
		}
		placeholders, err := r.checkLinks(repoRows, m)
		if err != nil {
			return err
		}
		if len(placeholders) > 0 {
			if err := repoRows.AddPlaceholders(placeholders, now); err != nil {
				return err
			}
		}
		if id, size, err = repoRows.SaveManifest(m, now); err != nil {
			return err
		}
		if promised, err = repoRows.AddManifest(m.Digest.String(), id, size, now); err != nil {
			return err
		}
		if err := repoRows.AddReferences(id, m.Links); err != nil {
			return err
		}
		for _, tag := range tags {
			if err := repoRows.SetTag(tag, id, m.Digest.String(), caller, now); err != nil {
				return err
			}
		}
		return repoRows.SetListed(now)
	})
	if err == nil {
		r.damagedPayloads.take(rowKey{id, m.Digest})
		r.warnSizeMismatch(repo, m.Digest, promised, size)
	}
	return err
}

// checkLinks checks that the repository has the content that a manifest links, with the sizes of
// its descriptors. It returns placeholders for content that may be missing.
func (r *Registry) checkLinks(repoRows meta.Repo, m *manifest.Manifest) (placeholders []meta.Content, err error) {
	if len(m.Links) == 0 {
		return nil, nil
	}
	digests := make([]string, len(m.Links))
	for i, l := range m.Links {
		digests[i] = l.Digest.String()
	}
	contents, err := repoRows.Contents(digests)
	if err != nil {
		return nil, err
	}
	var missing []string
	for _, l := range m.Links {
		c, known := contents[l.Digest.String()]
		switch {
		case known && hasContent(c, l.Kind):
			if l.Size >= 0 && l.Size != c.Size {
				return nil, errorf(manifest.ErrManifestInvalid, "the descriptor of %s says %d bytes, the repository has %d", l.Digest, l.Size, c.Size)
			}
		case l.Optional || r.mayBeMissing(l):
			if !known {
				placeholders = append(placeholders, meta.Content{Digest: l.Digest.String(), Size: l.Size})
			}
		default:
			missing = append(missing, l.Digest.String())
		}
	}
	if missing != nil {
		return nil, missingContentError(missing)
	}
	return placeholders, nil
}

// hasContent reports whether c has the content that a link of the kind needs.
func hasContent(c meta.Content, kind manifest.LinkKind) bool {
	switch kind {
	case manifest.LinkBlob:
		return c.BlobID != 0
	case manifest.LinkManifest:
		return c.ManifestID != 0
	default:
		return c.Present()
	}
}

// mayBeMissing reports whether AllowMissing lets the content of a link be missing.
func (r *Registry) mayBeMissing(l manifest.Link) bool {
	switch r.opts.AllowMissing {
	case MissingAll:
		return true
	case MissingIndex:
		return l.Child
	default:
		return false
	}
}

// maxMissing is the maximum number of missing digests in an error. Clients read only some kilobytes
// of an error.
const maxMissing = 20

func missingContentError(digests []string) error {
	type digestDetail struct {
		Digest string `json:"digest"`
	}
	detail := make([]digestDetail, min(len(digests), maxMissing))
	for i := range detail {
		detail[i].Digest = digests[i]
	}
	message := fmt.Sprintf("the manifest names %s, which the repository does not have: push it first", digests[0])
	if len(digests) > 1 {
		message = fmt.Sprintf("the manifest names %d contents that the repository does not have: push them first", len(digests))
	}
	if left := len(digests) - maxMissing; left > 0 {
		message += fmt.Sprintf(" (the detail has the first %d, and leaves out %d)", maxMissing, left)
	}
	return &manifest.Error{Kind: ErrManifestBlobUnknown, Message: message, Detail: detail}
}

// check checks the condition on a tag inside the transaction.
func (c Condition) check(repoRows meta.Repo, tag string) error {
	if !c.IfNoneMatch && !c.IfMatchAny && c.IfMatch == nil {
		return nil
	}
	current, err := repoRows.TagDigest(tag)
	absent := errors.Is(err, fs.ErrNotExist)
	switch {
	case err != nil && !absent:
		return err
	case c.IfNoneMatch && !absent:
		return errorf(ErrPrecondition, "the tag %s exists already: it is %s", tag, current)
	case absent && (c.IfMatchAny || c.IfMatch != nil):
		return errorf(ErrPrecondition, "the tag %s does not exist", tag)
	case c.IfMatch != nil && !slices.Contains(c.IfMatch, digest.Digest(current)):
		return errorf(ErrPrecondition, "the tag %s is %s", tag, current)
	}
	return nil
}

// DeleteManifest implements [Manifests].
func (r *Registry) DeleteManifest(ctx context.Context, caller, repo string, d digest.Digest) error {
	unknown := func(err error) error {
		return orUnknown(err, ErrManifestUnknown, "the repository has no manifest %s", d)
	}
	return r.decide(ctx, repo, func(tx *meta.Tx) error {
		repoRows, err := tx.Repo(repo)
		if err != nil {
			return unknown(err)
		}
		id, err := repoRows.ManifestID(d.String())
		if err != nil {
			return unknown(err)
		}
		index, err := repoRows.ReferencedBy(d.String(), true)
		if err == nil {
			return errorf(ErrDenied, "the index %s lists the manifest: delete that first", index)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		now := r.nowMicro()
		if err := repoRows.DeleteTagsOf(id, caller, now); err != nil {
			return err
		}
		return repoRows.DeleteManifest(id, d.String(), now)
	})
}

// DeleteTag implements [Manifests].
func (r *Registry) DeleteTag(ctx context.Context, caller, repo, tag string, cond Condition) error {
	return r.decide(ctx, repo, func(tx *meta.Tx) error {
		repoRows, err := tx.Repo(repo)
		if err != nil {
			return orUnknown(err, ErrManifestUnknown, "the repository has no tag %s", tag)
		}
		if err := cond.check(repoRows, tag); err != nil {
			return err
		}
		deleted, err := repoRows.DeleteTag(tag, caller, r.nowMicro())
		if err == nil && !deleted {
			err = errorf(ErrManifestUnknown, "the repository has no tag %s", tag)
		}
		return err
	})
}
