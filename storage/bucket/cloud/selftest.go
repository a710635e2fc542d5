package cloud

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"time"

	"github.com/berth-registry/berth/storage/bucket"
)

// selfTestTimeout is the time for a self-test, retries included.
const selfTestTimeout = time.Minute

// SelfTest does what the registry will do in the bucket: it writes an object, reads a range of it,
// signs a URL for it, deletes it, and asks for one that is absent. signs reports whether URLs can
// be signed; that they cannot is no error. Other errors name the step, and what is to be done.
func (s *Store) SelfTest(ctx context.Context) (signs bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, selfTestTimeout)
	defer cancel()
	key := selfTestKey()
	content := []byte("written by the self-test of Berth at its start\n")
	for _, step := range []struct {
		does, grant string
		run         func() error
	}{
		{"asking for an absent object", grantOf("read",
			"s3:GetObject and s3:ListBucket, without which S3 answers 403 instead of 404", "storage.objects.get"),
			func() error { return s.wantAbsent(ctx, key) }},
		{"writing an object", grantOf("write",
			"s3:PutObject, s3:AbortMultipartUpload, s3:ListBucketMultipartUploads", "storage.objects.create"),
			func() error { _, err := s.Put(ctx, key, bytes.NewReader(content), io.Discard); return err }},
		{"reading a range of an object", grantOf("read", "s3:GetObject", "storage.objects.get"),
			func() error { return s.wantRange(ctx, key, content) }},
		{"signing a URL", "",
			func() error { signs = s.canSign(ctx, key); return nil }},
		{"deleting an object", grantOf("delete", "s3:DeleteObject", "storage.objects.delete"),
			func() error { return errors.Join(s.RemoveParts(ctx, key), s.Delete(ctx, key)) }},
		{"asking for a deleted object", "the store must show deletions at once",
			func() error { return s.wantAbsent(ctx, key) }},
	} {
		if err := step.run(); err != nil {
			return signs, fmt.Errorf("self-test of the bucket: %s: %s (%w)", step.does, advice(err, step.grant), err)
		}
	}
	return signs, nil
}

// grantOf returns the advice to grant a right: what it is called in S3, in GCS and in Azure.
func grantOf(verb, s3, gcs string) string {
	return fmt.Sprintf("allow to %s objects (%s; %s; Storage Blob Data Contributor)", verb, s3, gcs)
}

// selfTestKey returns a key that no object of the registry has.
func selfTestKey() string {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return "content/00/selftest-" + hex.EncodeToString(b[:]) + "-0"
}

// wantAbsent fails unless the object is certainly absent.
func (s *Store) wantAbsent(ctx context.Context, key string) error {
	r, err := s.Get(ctx, key, 0, 1)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		return errors.Join(errors.New("it is there"), r.Close())
	}
	return err
}

func (s *Store) wantRange(ctx context.Context, key string, content []byte) error {
	const from, n = 8, 6
	r, err := s.Get(ctx, key, from, int64(len(content)))
	if err != nil {
		return err
	}
	defer r.Close()
	got := make([]byte, n)
	if _, err := io.ReadFull(r, got); err != nil {
		return err
	}
	if !bytes.Equal(got, content[from:from+n]) {
		return errors.New("other bytes than were written")
	}
	return nil
}

// canSign reports whether the store signs URLs. It sends none.
func (s *Store) canSign(ctx context.Context, key string) bool {
	_, err := s.SignURL(ctx, key, bucket.SignOptions{Expiry: time.Minute})
	return err == nil
}

// advice returns a sentence on an error of the self-test. grant is what to do if the request was
// refused for want of a permission.
func advice(err error, grant string) string {
	c, s := code(err), status(err)
	switch {
	case isNoBucket(err) || s == http.StatusNotFound: // of an object, it has its own kind
		return "there is no such bucket: make it, or correct its name in storage.bucket"
	case s == http.StatusMovedPermanently,
		c == "AuthorizationHeaderMalformed", c == "IllegalLocationConstraintException":
		return "the bucket is in another region: correct region in storage.bucket"
	case strings.HasPrefix(c, "Expired") || c == "InvalidToken" || c == "TokenRefreshRequired":
		return "the credentials have expired: renew them"
	case s == http.StatusUnauthorized,
		c == "InvalidAccessKeyId", c == "SignatureDoesNotMatch", c == "AuthenticationFailed":
		return "the credentials are wrong: correct them where the SDK finds them"
	case s == http.StatusForbidden:
		return grant
	case s == 0 && errors.Is(err, context.DeadlineExceeded):
		return "the store does not answer: check the endpoint and the network"
	case s == 0:
		return "the store cannot be used: check the endpoint and the network"
	}
	return fmt.Sprintf("the store answered %d", s)
}
