package cloud

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/testserver"
	"github.com/berth-registry/berth/storage/bucket"
	"github.com/berth-registry/berth/storage/bucket/buckettest"
)

// openAnswer opens a bucket of S3 whose server is a handler. Requests are not repeated.
func openAnswer(t *testing.T, answer http.HandlerFunc) *Store {
	t.Helper()
	testserver.S3(t) // for the variables
	t.Setenv("AWS_MAX_ATTEMPTS", "1")
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	return openURL(t, "s3://bucket?endpoint="+server.URL, bucket.Options{})
}

// refuse returns a handler that answers with an error of S3.
func refuse(status int, code string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(status)
		fmt.Fprintf(w, "<Error><Code>%s</Code><Message>no</Message></Error>", code)
	}
}

// TestGetErrors checks the kinds of the errors of Get: only an answer that an object is missing
// says so.
func TestGetErrors(t *testing.T) {
	kinds := []error{fs.ErrNotExist, bucket.ErrUnreadable, bucket.ErrSize}
	for _, test := range []struct {
		status int
		code   string
		want   error // nil for none of kinds
	}{
		{404, "NoSuchKey", fs.ErrNotExist}, {404, "NoSuchBucket", nil}, {403, "AccessDenied", bucket.ErrUnreadable},
		{416, "InvalidRange", bucket.ErrSize}, {503, "SlowDown", nil}, {500, "InternalError", nil}, {301, "PermanentRedirect", nil},
	} {
		s := openAnswer(t, refuse(test.status, test.code))
		_, err := s.Get(t.Context(), testKey, 1, 10)
		for _, kind := range kinds {
			if errors.Is(err, kind) != (kind == test.want) || err == nil {
				t.Errorf("%d %s: %v, is %v: %v", test.status, test.code, err, kind, errors.Is(err, kind))
			}
		}
	}
}

// TestCutBody checks that a body that ends early is an error and never the end, and that another
// size than the caller expects is found before the first byte.
func TestCutBody(t *testing.T) {
	const size = 100_000
	var requests []string
	s := openAnswer(t, func(w http.ResponseWriter, r *http.Request) {
		requests = append(requests, r.Method+" "+r.Header.Get("Range"))
		if r.Header.Get("Range") != "" { // ends in good order, but too early
			w.Header().Set("Content-Range", fmt.Sprintf("bytes 1-%d/%d", size-1, size))
			w.WriteHeader(http.StatusPartialContent)
			w.Write(make([]byte, size/2))
			return
		}
		w.Header().Set("Content-Length", fmt.Sprint(size))
		w.Write(make([]byte, size/2))
		panic(http.ErrAbortHandler)
	})
	for offset := range int64(2) {
		r, err := s.Get(t.Context(), testKey, offset, size)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if n, err := io.Copy(io.Discard, r); err == nil || n > size/2 {
			t.Errorf("a body that was cut, from %d on: %d bytes, %v", offset, n, err)
		}
	}
	if _, err := s.Get(t.Context(), testKey, 0, size+1); !errors.Is(err, bucket.ErrSize) {
		t.Errorf("another size: %v", err)
	}
	if got := strings.Join(requests, ","); got != "GET ,GET bytes=1-,GET " {
		t.Errorf("requests %q: one GET for each opening, and nothing else, was expected", got)
	}
}

// TestRangesOfAnObject checks that reading from an offset is one GET, also at the end of the
// object, where a range would be an error.
func TestRangesOfAnObject(t *testing.T) {
	content := buckettest.Body(1000)
	var requests []string
	s := openAnswer(t, func(w http.ResponseWriter, r *http.Request) {
		requests = append(requests, r.Method+" "+r.Header.Get("Range"))
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	})
	for _, offset := range []int64{0, 100, 999, 1000} {
		r, err := s.Get(t.Context(), testKey, offset, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, content[offset:]) {
			t.Errorf("from %d on: %d bytes, %v", offset, len(got), err)
		}
		r.Close()
	}
	if got := strings.Join(requests, ","); got != "GET ,GET bytes=100-,GET bytes=999-,GET bytes=999-" {
		t.Errorf("requests %q", got)
	}
}

// TestPutErrors checks the kinds of the errors of Put.
func TestPutErrors(t *testing.T) {
	for code, want := range map[string]error{"QuotaExceeded": bucket.ErrNoSpace, "SlowDown": nil} {
		s := openAnswer(t, refuse(503, code))
		for _, size := range []int64{1, partSize + 1} {
			_, err := s.Put(t.Context(), testKey, zeros(size), io.Discard)
			if err == nil || errors.Is(err, bucket.ErrNoSpace) != (want != nil) {
				t.Errorf("%s, %d bytes: %v", code, size, err)
			}
		}
	}
}

// TestMarkerWithoutConditions checks that a store that knows no conditions keeps its marker too.
func TestMarkerWithoutConditions(t *testing.T) {
	objects := map[string]bool{}
	s := openAnswer(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("If-None-Match") != "":
			refuse(501, "NotImplemented")(w, r)
		case r.Method == "HEAD" && !objects[r.URL.Path]:
			w.WriteHeader(404)
		default:
			objects[r.URL.Path] = true
		}
	})
	for i, want := range []error{nil, fs.ErrExist} {
		if _, err := s.Put(t.Context(), bucket.Marker, zeros(1), io.Discard); !errors.Is(err, want) {
			t.Errorf("marker %d: %v", i, err)
		}
	}
}

// TestDeleteErrors checks that an object that cannot be deleted is an error, and one that is
// missing is not.
func TestDeleteErrors(t *testing.T) {
	var body string
	s := openAnswer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Content-Md5") == "" || r.Method != "POST" {
			t.Errorf("%s, %v", r.Method, r.Header)
		}
		io.WriteString(w, "<DeleteResult>"+body+"</DeleteResult>")
	})
	for _, test := range []struct {
		code string
		ok   bool
	}{{"AccessDenied", false}, {"NoSuchKey", true}} {
		body = "<Error><Key>k</Key><Code>" + test.code + "</Code></Error>"
		if err := s.Delete(t.Context(), testKey); (err == nil) != test.ok {
			t.Errorf("%s: %v", test.code, err)
		}
	}
}

// TestSelfTest checks that a good bucket passes, and that a fault is named with what to do.
func TestSelfTest(t *testing.T) {
	for name, server := range servers {
		s := openURL(t, server(t), bucket.Options{})
		if signs, err := s.SelfTest(t.Context()); err != nil || signs != (name != "gcs") {
			t.Errorf("%s: %v, signs: %v", name, err, signs)
		}
		buckettest.WantKeys(t, s)
		kind, rest, _ := strings.Cut(server(t), "://")
		_, rest, _ = strings.Cut(rest, "?")
		s = openURL(t, kind+"://not-there?"+rest, bucket.Options{})
		if _, err := s.SelfTest(t.Context()); err == nil || !strings.Contains(err.Error(), "there is no such bucket") {
			t.Errorf("%s, no bucket: %v", name, err)
		}
	}
	for code, says := range map[string]string{
		"403 AccessDenied":                 "absent object: allow to read objects (s3:GetObject and s3:ListBucket",
		"403 InvalidAccessKeyId":           "credentials are wrong",
		"400 ExpiredToken":                 "credentials have expired",
		"400 AuthorizationHeaderMalformed": "another region",
		"301 PermanentRedirect":            "another region",
		"503 SlowDown":                     "the store answered 503",
	} {
		var status int
		var name string
		fmt.Sscan(code, &status, &name)
		s := openAnswer(t, refuse(status, name))
		if _, err := s.SelfTest(t.Context()); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", code, err)
		}
	}
	s := openAnswer(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "PUT" {
			refuse(403, "AccessDenied")(w, r)
		} else {
			refuse(404, "NoSuchKey")(w, r)
		}
	})
	if _, err := s.SelfTest(t.Context()); err == nil || !strings.Contains(err.Error(), "writing an object: allow to write objects (s3:PutObject") {
		t.Errorf("a bucket that may not be written: %v", err)
	}
	s = openAnswer(t, func(w http.ResponseWriter, r *http.Request) {})
	if _, err := s.SelfTest(t.Context()); err == nil {
		t.Error("a store that answers everything with 200 passed")
	}
}
