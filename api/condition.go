package api

import (
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/api/web"
	"github.com/berth-registry/berth/manifest"
	"github.com/berth-registry/berth/storage"
)

// etag returns the entity tag of content: its digest in quotes.
func etag(d digest.Digest) string { return `"` + d.String() + `"` }

// notModified answers 304 if If-None-Match has the digest (RFC 9110, 13.1.2), and reports whether
// it did.
func notModified(w *web.Response, r *request, d digest.Digest) bool {
	values := r.Header["If-None-Match"]
	if len(values) == 0 || r.Header.Get("If-Match") != "" {
		return false
	}
	for _, tag := range entityTags(values) {
		if tag == "*" || strings.TrimPrefix(tag, "W/") == d.String() {
			w.WriteHeader(http.StatusNotModified)
			return true
		}
	}
	return false
}

// entityTags returns the entity tags of a header field without their quotes. Quotes may be missing,
// as people leave them out: no digest contains a comma or a quote.
func entityTags(values []string) []string {
	var tags []string
	for _, value := range values {
		for tag := range strings.SplitSeq(value, ",") {
			tag = strings.TrimSpace(tag)
			weak := ""
			if rest, ok := strings.CutPrefix(tag, "W/"); ok {
				weak, tag = "W/", rest
			}
			if len(tag) >= 2 && tag[0] == '"' && tag[len(tag)-1] == '"' {
				tag = tag[1 : len(tag)-1]
			}
			if tag != "" {
				tags = append(tags, weak+tag)
			}
		}
	}
	return tags
}

// condition returns the precondition of a write to a tag (RFC 9110, 13.1): If-Match with entity
// tags or "*", If-None-Match with "*".
func (r *request) condition() (storage.Condition, error) {
	var c storage.Condition
	if values, ok := r.Header["If-Match"]; ok {
		c.IfMatch = []digest.Digest{} // without a valid entity tag the condition is never true
		for _, tag := range entityTags(values) {
			if tag == "*" {
				c.IfMatchAny = true
			}
			// A weak entity tag, or one that is not a digest, never matches.
			c.IfMatch = append(c.IfMatch, digest.Digest(tag))
		}
		if c.IfMatchAny {
			c.IfMatch = nil
		}
	}
	if values, ok := r.Header["If-None-Match"]; ok {
		tags := entityTags(values)
		if len(tags) != 1 || tags[0] != "*" {
			return c, manifest.Errorf(errParameter, "a write takes If-None-Match only as *, which means that the tag must not exist")
		}
		c.IfNoneMatch = true
	}
	return c, nil
}
