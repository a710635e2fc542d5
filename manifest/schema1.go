package manifest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
)

// readSchema1 reads Docker's first image manifest. Neither the name and tag
// inside nor its signatures are looked at.
func (m *Manifest) readSchema1(doc document, all *links) error {
	if err := doc.without(m.MediaType, "config", "layers", "manifests"); err != nil {
		return err
	}
	if err := doc.version("1"); err != nil {
		return err
	}
	if _, ok := doc["signatures"]; ok && m.MediaType == MediaTypeSchema1 {
		// Whether they count for the digest would be anyone's guess.
		return under("signatures", faultf("a signed manifest has the Content-Type %s", MediaTypeSchema1Signed))
	}
	return doc.list("fsLayers", func(v value) error {
		var link Link
		err := v.object([]string{"blobSum"}, func(_ string, v value) (err error) {
			link.Digest, err = v.digest()
			return err
		})
		if err != nil {
			return err
		}
		if link.Digest == "" {
			return under("blobSum", faultf("missing, expected a digest"))
		}
		link.Size = -1
		return all.add(link)
	})
}

// withoutSignatures returns the payload of a signed manifest as it was before
// it was signed, which is what its digest is of. Each signature's protected
// header says how: the first formatLength bytes, then formatTail.
//
// The result is checked to be the document less its last member, signatures:
// else the digest would not cover what is read.
func withoutSignatures(payload []byte) ([]byte, error) {
	outer, err := readDocument(payload)
	if err != nil {
		return nil, err
	}
	var formats []format
	err = outer.list("signatures", func(v value) error {
		f, err := v.signature()
		if err == nil && len(formats) > 0 && !formats[0].equal(f) {
			err = under("protected", faultf("formatLength and formatTail differ from the first signature's"))
		}
		formats = append(formats, f)
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(formats) == 0 {
		return nil, under("signatures", faultf("expected one or more"))
	}
	f := formats[0]
	if f.length > int64(len(payload)) {
		return nil, under("signatures[0].protected", faultf("formatLength %d exceeds the manifest's %d bytes", f.length, len(payload)))
	}
	head, rest := payload[:f.length], payload[f.length:]
	unsigned := slices.Concat(head, f.tail)
	if !endsObject(f.tail) || !json.Valid(unsigned) || !onlySignatures(rest, outer["signatures"]) {
		return nil, under("signatures[0].protected", faultf("formatLength and formatTail do not make the manifest without its signatures"))
	}
	return unsigned, nil
}

// endsObject reports whether s is a closing brace and space.
func endsObject(s []byte) bool { return string(bytes.TrimSpace(s)) == "}" }

// onlySignatures reports whether s is a last member "signatures" with that
// value and the end of the object.
func onlySignatures(s []byte, signatures value) bool {
	for _, part := range [][]byte{[]byte(","), []byte(`"signatures"`), []byte(":"), signatures} {
		var found bool
		if s, found = bytes.CutPrefix(bytes.TrimSpace(s), part); !found {
			return false
		}
	}
	return endsObject(s)
}

// format is how to get from a signed manifest to the unsigned one.
type format struct {
	length int64
	tail   []byte
}

func (f format) equal(g format) bool {
	return f.length == g.length && bytes.Equal(f.tail, g.tail)
}

// signature reads the format out of a signature's protected header.
func (v value) signature() (format, error) {
	var f format
	found := 0
	err := v.object([]string{"header", "signature", "protected"}, func(key string, v value) (err error) {
		found++
		switch key {
		case "header":
			err = v.members(func([]byte, value) error { return nil })
		case "signature":
			_, err = v.base64()
		case "protected":
			f, err = v.protected()
		}
		return err
	})
	if err == nil && found < 3 {
		err = faultf("expected header, signature and protected")
	}
	return f, err
}

// protected reads a protected header: an object in base64url.
func (v value) protected() (format, error) {
	var f format
	decoded, err := v.base64()
	if err != nil {
		return f, err
	}
	header, err := readJSON(decoded)
	if err != nil {
		return f, err
	}
	found := 0
	err = header.object([]string{"formatLength", "formatTail"}, func(key string, v value) (err error) {
		found++
		if key == "formatLength" {
			f.length, err = v.natural()
		} else {
			f.tail, err = v.base64()
		}
		return err
	})
	if err == nil && found < 2 {
		err = faultf("expected formatLength and formatTail")
	}
	return f, err
}

// base64 reads a string in base64url (RFC 4648, 5), padded or not.
func (v value) base64() ([]byte, error) {
	text, err := v.text()
	if err != nil {
		return nil, err
	}
	decoded, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "="))
	if err != nil {
		return nil, faultf("expected base64url: %v", err)
	}
	return decoded, nil
}
