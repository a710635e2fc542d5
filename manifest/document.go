package manifest

import (
	"strings"
)

// document is the top level of a manifest: the values of documentKeys, whatever the media type.
type document map[string]value

// documentKeys are the keys of all media types together, so that a document that mixes two media
// types is detected.
var documentKeys = []string{
	"schemaVersion", "mediaType", "artifactType", "config", "layers", "manifests",
	"fsLayers", "blobs", "subject", "annotations", "signatures",
}

func readDocument(payload []byte) (document, error) {
	if len(payload) == 0 {
		return nil, faultf("the body is empty")
	}
	v, err := readJSON(payload)
	if err != nil {
		return nil, err
	}
	doc := make(document)
	err = v.knownMembers(documentKeys, func(key string, v value) error {
		doc[key] = v
		return nil
	})
	return doc, err
}

// optional calls f with the value of a key, unless it is absent. Some writers write null for an
// absent field, so null counts as absent.
func (d document) optional(key string, f func(v value) error) error {
	v, ok := d[key]
	if !ok || v.isNull() {
		return nil
	}
	if err := f(v); err != nil {
		return atPath(key, err)
	}
	return nil
}

// requiredArray calls f with each element of an array that must be present. null counts as empty,
// because Go's encoding/json writes a nil slice so.
func (d document) requiredArray(key string, f func(v value) error) error {
	if _, ok := d[key]; !ok {
		return atPath(key, faultf("missing, expected an array"))
	}
	return d.optional(key, func(v value) error { return v.elements(f) })
}

// rejectKeys returns an error if the document has one of the keys, which belong to other media
// types. A client that detects the type by the keys would read such a document as a different
// manifest (CVE-2021-41190).
func (d document) rejectKeys(mediaType string, keys ...string) error {
	for _, key := range keys {
		if _, ok := d[key]; ok {
			return atPath(key, faultf("does not belong into a document of type %s", mediaType))
		}
	}
	return nil
}

// checkVersion checks schemaVersion.
func (d document) checkVersion(want string) error {
	v, ok := d["schemaVersion"]
	if !ok {
		return atPath("schemaVersion", faultf("missing, expected %s", want))
	}
	if string(v) != want {
		return atPath("schemaVersion", faultf("expected %s, found %s", want, quoteShort(v)))
	}
	return nil
}

// mediaType returns the media type of the document, from the request's Content-Type and the
// document's own mediaType. If both are present they must agree.
func (d document) mediaType(contentType string) (string, error) {
	var own string
	err := d.optional("mediaType", func(v value) (err error) {
		own, err = v.mediaType()
		return err
	})
	if err != nil {
		return "", err
	}
	header, _, _ := strings.Cut(contentType, ";")
	header = strings.ToLower(strings.TrimSpace(header)) // case-insensitive (RFC 9110, 8.3.1)
	switch {
	case header == "" && own == "":
		return "", faultf("neither the request's Content-Type nor mediaType says what it is: expected one of %s", mediaTypes())
	case header == "":
		if !isMediaType(own) {
			return "", atPath("mediaType", faultf("%s is not supported: expected one of %s", quoteShort(own), mediaTypes()))
		}
		return own, nil
	case !isMediaType(header):
		return "", faultf("Content-Type %s is not supported: expected one of %s", quoteShort(header), mediaTypes())
	case own == "" && needsMediaType(header):
		return "", atPath("mediaType", faultf("missing, expected %s", header))
	case own != "" && own != header:
		return "", atPath("mediaType", faultf("%s, but Content-Type says %s: both must be the same", quoteShort(own), header))
	}
	return header, nil
}

// mediaTypes lists the media types that Parse accepts, for messages.
func mediaTypes() string {
	return strings.Join([]string{
		MediaTypeImage, MediaTypeIndex, MediaTypeDockerImage, MediaTypeDockerList,
		MediaTypeSchema1, MediaTypeSchema1Signed, MediaTypeArtifact,
	}, ", ")
}

func isMediaType(s string) bool {
	switch s {
	case MediaTypeImage, MediaTypeIndex, MediaTypeDockerImage, MediaTypeDockerList,
		MediaTypeSchema1, MediaTypeSchema1Signed, MediaTypeArtifact:
		return true
	}
	return false
}

// needsMediaType reports whether documents of a media type must have a mediaType field. In OCI
// images and indexes it is optional; schema 1 has no such field.
func needsMediaType(s string) bool {
	return s == MediaTypeDockerImage || s == MediaTypeDockerList || s == MediaTypeArtifact
}
