package cloud

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/berth-registry/berth/storage/bucket"
	"github.com/berth-registry/berth/storage/bucket/buckettest"
)

// signers are the servers that sign URLs. The functions return what is added to the URL of a bucket
// so that its signed URLs have another host name than other requests, where they can.
var signers = map[string]func(bucketURL string) string{
	"s3": func(bucketURL string) string {
		_, endpoint, _ := strings.Cut(bucketURL, "endpoint=")
		return "&public_endpoint=" + strings.Replace(endpoint, "127.0.0.1", "localhost", 1)
	},
	"azure": func(string) string { return "" },
}

// getSigned requests a signed URL without credentials.
func getSigned(t *testing.T, method, signed, asked string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, signed, nil)
	if err != nil {
		t.Fatal(err)
	}
	if asked != "" {
		req.Header.Set("Range", asked)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

// TestSignURL reads an object of each kind of store through a signed URL, through the wrappers of a
// registry.
func TestSignURL(t *testing.T) {
	options := bucket.SignOptions{Expiry: time.Hour, ContentType: "application/vnd.test", CacheControl: "private, no-cache"}
	for name, public := range signers {
		t.Run(name, func(t *testing.T) {
			bucketURL := servers[name](t)
			base := openURL(t, bucketURL+public(bucketURL)+"&prefix=a/b/", bucket.Options{})
			s := bucket.Instrument(bucket.LimitSpace(&buckettest.Faulty{Store: base}, 1, t.TempDir()))
			content := string(buckettest.Body(100_000))
			buckettest.MustPut(t, s, testKey, []byte(content))
			signed, err := s.SignURL(t.Context(), testKey, options)
			if err != nil {
				t.Fatal(err)
			}
			if u, err := url.Parse(signed); err != nil || (u.Hostname() == "localhost") != (name == "s3") {
				t.Fatalf("signed for another host: %s, %v", signed, err)
			}
			for asked, want := range map[string]string{"": content, "bytes=99990-": content[99_990:], "bytes=3-7": content[3:8]} {
				resp, got := getSigned(t, "GET", signed, asked)
				status := http.StatusOK
				if asked != "" {
					status = http.StatusPartialContent
				}
				if resp.StatusCode != status || got != want {
					t.Errorf("Range %q: %d with %d bytes", asked, resp.StatusCode, len(got))
				}
				if h := resp.Header; h.Get("Content-Type") != options.ContentType || h.Get("Cache-Control") != options.CacheControl {
					t.Errorf("Range %q: %v", asked, h)
				}
			}
			if resp, _ := getSigned(t, "DELETE", signed, ""); resp.StatusCode != http.StatusForbidden {
				t.Errorf("DELETE: %s", resp.Status)
			}
			if resp, _ := getSigned(t, "GET", strings.Replace(signed, "abc-1", "abc-2", 1), ""); resp.StatusCode != http.StatusForbidden {
				t.Errorf("another key: %s", resp.Status)
			}
			testSignErrors(t, base)
		})
	}
}

// testSignErrors checks the errors of a Store that signs URLs, and closes it.
func testSignErrors(t *testing.T, s *Store) {
	if url, err := s.SignURL(t.Context(), "x", bucket.SignOptions{Expiry: time.Hour}); !errors.Is(err, bucket.ErrKey) {
		t.Errorf("a malformed key: %q, %v", url, err)
	}
	if url, err := s.SignURL(t.Context(), testKey, bucket.SignOptions{Expiry: time.Second}); !errors.Is(err, bucket.ErrCannotSign) {
		t.Errorf("for a second: %q, %v", url, err)
	}
	s.Close()
	if url, err := s.SignURL(t.Context(), testKey, bucket.SignOptions{Expiry: time.Hour}); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("after Close: %q, %v", url, err)
	}
}

// TestSignURLInMemory: a bucket in memory signs nothing.
func TestSignURLInMemory(t *testing.T) {
	s := OpenMemory(bucket.Options{})
	defer s.Close()
	if url, err := bucket.SignURL(t.Context(), s, testKey, bucket.SignOptions{Expiry: time.Hour}); !errors.Is(err, bucket.ErrCannotSign) {
		t.Errorf("signed %q, %v", url, err)
	}
}

// TestSignWithTemporaryCredentials: a URL expires with the credentials that signed it at the
// latest, and none is signed that would expire at once.
func TestSignWithTemporaryCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(900 * time.Millisecond) // of the clock of the bubble: signatures have whole seconds
		for left, want := range map[time.Duration]time.Duration{
			0: 20 * time.Minute, time.Hour: 20 * time.Minute, 10 * time.Minute: 10 * time.Minute, time.Minute: 0, -time.Minute: 0,
		} {
			expires := time.Now().Add(left)
			credentials := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
				return aws.Credentials{AccessKeyID: "key", SecretAccessKey: "secret", SessionToken: "token", CanExpire: left != 0, Expires: expires}, nil
			})
			s := newS3Signer(aws.Config{Region: "eu-west-1", Credentials: credentials}, bucket.Location{Kind: bucket.S3, Bucket: "images"})
			signed, err := s.sign(t.Context(), testKey, bucket.SignOptions{Expiry: 20 * time.Minute})
			if want == 0 {
				if !errors.Is(err, bucket.ErrCannotSign) {
					t.Errorf("%v are left: %q, %v", left, signed, err)
				}
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			u, err := url.Parse(signed)
			if err != nil {
				t.Fatal(err)
			}
			at, err := time.Parse("20060102T150405Z", u.Query().Get("X-Amz-Date"))
			if err != nil {
				t.Fatal(err)
			}
			life, err := time.ParseDuration(u.Query().Get("X-Amz-Expires") + "s")
			if got := time.Until(at.Add(life)); err != nil || got > want || got < want-3*time.Second {
				t.Errorf("%v are left: the URL expires in %v, %v, want %v", left, got, err, want)
			}
			if u.Host != "images.s3.eu-west-1.amazonaws.com" || u.Query().Get("response-content-type") != "" {
				t.Errorf("signed %s", signed)
			}
		}
	})
}

// TestSignWithoutCredentials: the error of missing credentials names the key, and no URL.
func TestSignWithoutCredentials(t *testing.T) {
	missing := errors.New("the role is gone")
	cfg := aws.Config{Region: "eu-west-1", Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{}, missing
	})}
	s, _ := newFake(bucket.Options{})
	s.sign = newS3Signer(cfg, bucket.Location{Kind: bucket.S3, Bucket: "images"}).sign
	url, err := s.SignURL(t.Context(), testKey, bucket.SignOptions{Expiry: time.Hour})
	if url != "" || !errors.Is(err, missing) || !strings.Contains(err.Error(), testKey) || strings.Contains(err.Error(), "http") {
		t.Errorf("signed %q, %v", url, err)
	}
}

// TestSignURLForGCS: with the file of a service account, URLs are signed for the endpoint that is
// configured. The emulator checks no signatures.
func TestSignURLForGCS(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	account, err := json.Marshal(map[string]string{
		"type": "service_account", "client_email": "berth@test.example", "token_uri": "http://127.0.0.1:1/",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "account.json")
	if err := os.WriteFile(file, account, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", file)
	for rawURL, host := range map[string]string{
		"gs://images?prefix=a/": "storage.googleapis.com",
		"gs://images?prefix=a/&endpoint=https://gcs.p.example:8443": "gcs.p.example:8443",
	} {
		s := openURL(t, rawURL, bucket.Options{})
		signed, err := s.SignURL(t.Context(), testKey, bucket.SignOptions{Expiry: time.Hour, ContentType: "a/b", CacheControl: "private"})
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(signed)
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		if u.Host != host || u.Path != "/images/a/"+testKey || q.Get("X-Goog-Signature") == "" ||
			q.Get("response-content-type") != "a/b" || q.Get("response-cache-control") != "private" {
			t.Errorf("%s: signed %s", rawURL, signed)
		}
	}
}
