package api

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/api/web"
	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/manifest"
	"github.com/berth-registry/berth/storage"
)

// request is what a handler is given: the request, with everything that its
// path says already checked.
type request struct {
	*http.Request
	id     string
	origin web.Origin
	repo   string // a well-formed name; "" where the route has none

	authorization authorization // of who asks
	caller        auth.Identity // who that is
	access        []auth.Access // of the token that was shown
	keyID         string        // that signed this token
	rule          string        // of the policy, that let the request through
	oauthErrors   bool          // errors are answered as OAuth has them, too

	permission    auth.Permission // that the request needs
	authorizedAt  time.Time       // when it was asked for, by Options.Now
	auditReserved bool            // there is room in the audit for a line of this request

	// One of these, as the route's element says.
	ref    manifest.Reference
	digest digest.Digest
	upload string

	body *web.Body // nil when the request announces none

	// For the log: what stood in the path, whether or not it is well-formed.
	route, rawRepo, rawElement string
}

// parse checks a name and a last element as they stand in the escaped path. The
// name is taken as it stands; the element is decoded once, because JavaScript
// clients send "sha256%3A…".
func (r *request) parse(kind pathElement, name, last string) error {
	r.rawRepo, r.rawElement = name, last
	if name != "" {
		if strings.IndexByte(name, '%') >= 0 {
			return manifest.Errorf(manifest.ErrNameInvalid, "a repository name has no %% in it: expected components of a-z and 0-9, separated inside by one of . _ __ or dashes, joined by /")
		}
		if err := manifest.CheckName(name); err != nil {
			return err
		}
		r.repo = name
	}
	if strings.IndexByte(last, '%') >= 0 {
		decoded, err := url.PathUnescape(last)
		if err != nil || strings.IndexByte(decoded, '/') >= 0 {
			return manifest.Errorf(manifest.ErrNameInvalid, "the last element of the path must be a tag, a digest or an upload's id, without an escaped /")
		}
		last = decoded
		r.rawElement = decoded
	}
	return r.parseElement(kind, last)
}

func (r *request) parseElement(kind pathElement, last string) (err error) {
	switch kind {
	case elemReference:
		r.ref, err = manifest.ParseReference(last)
		// What cannot be a tag names no manifest, says the conformance suite;
		// only who wants to write one has to be told the grammar.
		if errors.Is(err, manifest.ErrTagInvalid) && r.Method != http.MethodPut {
			return manifest.Errorf(storage.ErrManifestUnknown, "no such manifest: %v", err)
		}
	case elemDigest:
		r.digest, err = manifest.ParseDigest(last)
	case elemUploadID:
		r.upload = last
	}
	return err
}

// parameters are those of the query. What is in a form's body is never looked
// at: one request has one meaning.
func (r *request) parameters() (parameters, error) {
	if r.URL.RawQuery == "" {
		return nil, nil
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, manifest.Errorf(errParameter, "the query is malformed: %v", err)
	}
	return parameters(values), nil
}

type parameters url.Values

// one returns the value of a parameter that may be given once, "" when absent.
// Given twice, two readers could take different ones: that is an error of the
// kind that a bad value has.
func (p parameters) single(name string, kind error) (string, error) {
	switch values := p[name]; len(values) {
	case 0:
		return "", nil
	case 1:
		return values[0], nil
	default:
		return "", manifest.Errorf(kind, "the query has %d parameters %q, one is allowed", len(values), name)
	}
}

func (p parameters) has(name string) bool { return len(p[name]) > 0 }

// digest returns a parameter that is a digest, "" when absent.
func (p parameters) digest(name string) (digest.Digest, error) {
	s, err := p.single(name, manifest.ErrDigestInvalid)
	if err != nil || !p.has(name) {
		return "", err
	}
	return manifest.ParseDigest(s)
}
