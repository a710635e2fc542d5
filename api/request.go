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

// request is the request that a handler receives. What its path contains is already checked.
type request struct {
	*http.Request
	id     string // unique to the request
	origin web.Origin
	repo   string // a well-formed repository name; "" where the route has none

	authorization authorization // of the header, or of the form of a token request
	caller        auth.Identity // authenticated by authorization
	access        []auth.Access // of the registry token
	keyID         string        // of the key that signed the registry token
	rule          string        // of the policy, which allowed the request
	oauthErrors   bool          // error bodies have OAuth's fields too

	permission    auth.Permission // required by the operation
	authorizedAt  time.Time       // by Options.Now
	auditReserved bool            // there is room for an audit line of this request

	// One of these is set, by the kind of the path's last element.
	ref    manifest.Reference
	digest digest.Digest
	upload string

	body *web.Body // nil when the request has none

	// For the log: route name, repository and last element, well-formed or not.
	route, rawRepo, rawElement string
}

// parse checks the repository name and the last element of an escaped path. An escaped name is an
// error. The element is unescaped once, because JavaScript clients send "sha256%3A…".
func (r *request) parse(kind pathElement, name, last string) error {
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
		// The conformance suite wants 404 for a reference that breaks the grammar. Only a write is
		// told the grammar.
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

// checkEncoding returns errContentEncoding if the body has a content coding other than identity
// (RFC 9110, 8.4). It is for bodies that are parsed. A blob is stored as it comes, whatever the
// field says.
func (r *request) checkEncoding(w *web.Response) error {
	for _, value := range r.Header["Content-Encoding"] {
		for coding := range strings.SplitSeq(value, ",") {
			if coding = strings.TrimSpace(coding); coding != "" && !strings.EqualFold(coding, "identity") {
				w.Header().Set("Accept-Encoding", "identity")
				return manifest.Errorf(errContentEncoding,
					"the body has the Content-Encoding %q: send it as it is, without one", web.Shorten(coding))
			}
		}
	}
	return nil
}

// parameters parses the query. Parameters in a form's body are not merged into it, so that a
// request has one meaning.
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

// parameters are those of a query or a form.
type parameters url.Values

// single returns the value of a parameter that may be given only once, "" when it is absent. A
// repeated parameter is an error of the given kind: two readers could use different values.
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

// digest returns the value of a parameter that must be a digest, "" when it is absent or empty.
func (p parameters) digest(name string) (digest.Digest, error) {
	s, err := p.single(name, manifest.ErrDigestInvalid)
	if err != nil || s == "" {
		return "", err
	}
	return manifest.ParseDigest(s)
}
