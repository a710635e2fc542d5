package manifest

import (
	"strings"
)

// document is a manifest's top level: the values of the keys that are read
// here, whatever the media type.
type document map[string]value

// documentKeys are the keys of all media types together, so that a document
// that mixes two of them is seen.
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
	err = v.object(documentKeys, func(key string, v value) error {
		doc[key] = v
		return nil
	})
	return doc, err
}

// optional calls f with the value of a key unless it is absent or null, which
// is how some writers leave a field out.
func (d document) optional(key string, f func(v value) error) error {
	v, ok := d[key]
	if !ok || v.null() {
		return nil
	}
	if err := f(v); err != nil {
		return under(key, err)
	}
	return nil
}

// list calls f with each element of an array that must be there. null stands
// for an empty one, as Go's encoding/json writes it.
func (d document) list(key string, f func(v value) error) error {
	if _, ok := d[key]; !ok {
		return under(key, faultf("missing, expected an array"))
	}
	return d.optional(key, func(v value) error { return v.elements(f) })
}

// without refuses a document with any of the keys, which belong to another
// media type: such a document is a different manifest to a reader that goes by
// its shape (CVE-2021-41190).
func (d document) without(mediaType string, keys ...string) error {
	for _, key := range keys {
		if _, ok := d[key]; ok {
			return under(key, faultf("does not belong into a document of type %s", mediaType))
		}
	}
	return nil
}

// version checks schemaVersion.
func (d document) version(want string) error {
	v, ok := d["schemaVersion"]
	if !ok {
		return under("schemaVersion", faultf("missing, expected %s", want))
	}
	if string(v) != want {
		return under("schemaVersion", faultf("expected %s, found %s", want, show(v)))
	}
	return nil
}

// mediaType decides what the document is, by the request's header and its own
// mediaType, which must agree.
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
	header = strings.ToLower(strings.TrimSpace(header)) // RFC 9110, 8.3.1: case does not matter
	switch {
	case header == "" && own == "":
		return "", faultf("neither the request's Content-Type nor mediaType says what it is: expected one of %s", mediaTypes())
	case header == "":
		if !isMediaType(own) {
			return "", under("mediaType", faultf("%s is not supported: expected one of %s", show(own), mediaTypes()))
		}
		return own, nil
	case !isMediaType(header):
		return "", faultf("Content-Type %s is not supported: expected one of %s", show(header), mediaTypes())
	case own == "" && needsMediaType(header):
		return "", under("mediaType", faultf("missing, expected %s", header))
	case own != "" && own != header:
		return "", under("mediaType", faultf("%s, but Content-Type says %s: both must be the same", show(own), header))
	}
	return header, nil
}

// mediaTypes lists what Parse takes.
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

// needsMediaType tells the media types whose documents must carry their own
// name. OCI images and indexes may, schema 1 has no field for it.
func needsMediaType(s string) bool {
	return s == MediaTypeDockerImage || s == MediaTypeDockerList || s == MediaTypeArtifact
}
