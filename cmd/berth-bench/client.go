package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// client is a client of one registry. It checks the status of each answer, and its length where
// that is known. Otherwise it does as little as net/http allows, because it runs on the same
// machine as the server.
type client struct {
	base    *url.URL
	http    *http.Client
	buffers *sync.Pool        // of *[256 << 10]byte
	header  map[string]string // added to every request
}

// newClient returns a client that keeps up to conns connections open.
func newClient(base string, conns int) (*client, error) {
	u, err := url.Parse(base)
	if err != nil {
		return nil, err
	}
	return &client{
		base: u,
		http: &http.Client{
			Transport: &http.Transport{
				MaxIdleConns:        conns,
				MaxIdleConnsPerHost: conns,
				IdleConnTimeout:     5 * time.Second, // less than that of any server
				DisableCompression:  true,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		buffers: &sync.Pool{New: func() any { return new([256 << 10]byte) }},
	}, nil
}

// withHeader returns a copy of the client with another header.
func (c *client) withHeader(header map[string]string) *client {
	other := *c
	other.header = header
	return &other
}

func (c *client) close() { c.http.CloseIdleConnections() }

// body is the body of a request; nil for none.
type body struct {
	reader      io.Reader
	size        int64
	contentType string
}

// do sends a request and returns an error unless the status is want. path may be a whole URL. The
// caller closes the answer's body.
func (c *client) do(ctx context.Context, method, path string, b *body, want int) (*http.Response, error) {
	if strings.HasPrefix(path, "/") {
		path = c.base.Scheme + "://" + c.base.Host + path
	}
	req, err := http.NewRequestWithContext(ctx, method, path, nil)
	if err != nil {
		return nil, err
	}
	if method != http.MethodPut && strings.Contains(path, "/manifests/") {
		req.Header.Set("Accept", mediaTypeIndex+", "+mediaTypeManifest) // some registries require it
	}
	for k, v := range c.header {
		req.Header.Set(k, v)
	}
	if b != nil {
		req.Body = io.NopCloser(b.reader)
		req.ContentLength = b.size
		req.Header.Set("Content-Type", b.contentType)
		if b.size == 0 {
			req.Body = http.NoBody
		}
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != want {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 512))
		res.Body.Close()
		return nil, fmt.Errorf("%s %s: %s, want %d: %s", method, path, res.Status, want, text)
	}
	return res, nil
}

// exchange sends a request, discards the answer's body and returns its length.
func (c *client) exchange(ctx context.Context, method, path string, b *body, want int) (int64, http.Header, error) {
	res, err := c.do(ctx, method, path, b, want)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	n, err := c.discard(res.Body)
	if err != nil {
		return n, nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	return n, res.Header, nil
}

// discard reads with a larger buffer than io.Copy to io.Discard does.
func (c *client) discard(r io.Reader) (int64, error) {
	buf := c.buffers.Get().(*[256 << 10]byte)
	defer c.buffers.Put(buf)
	var total int64
	for {
		n, err := r.Read(buf[:])
		total += int64(n)
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// get fetches a path and checks that the answer has size bytes, unless size is -1.
func (c *client) get(ctx context.Context, path string, size int64) error {
	n, _, err := c.exchange(ctx, http.MethodGet, path, nil, http.StatusOK)
	if err == nil && size >= 0 && n != size {
		return fmt.Errorf("GET %s: %d bytes, want %d", path, n, size)
	}
	return err
}

// head checks that the Content-Length of an answer to HEAD is size.
func (c *client) head(ctx context.Context, path string, size int64) error {
	res, err := c.do(ctx, http.MethodHead, path, nil, http.StatusOK)
	if err != nil {
		return err
	}
	res.Body.Close()
	if res.ContentLength != size {
		return fmt.Errorf("HEAD %s: Content-Length %d, want %d", path, res.ContentLength, size)
	}
	return nil
}

// verifyDigest fetches a blob or manifest and compares its digest. It is not used in measured time.
func (c *client) verifyDigest(ctx context.Context, path, digest string) error {
	res, err := c.do(ctx, http.MethodGet, path, nil, http.StatusOK)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, res.Body); err != nil {
		return err
	}
	if got := "sha256:" + hex.EncodeToString(sum.Sum(nil)); got != digest {
		return fmt.Errorf("GET %s: the bytes have the digest %s, want %s", path, got, digest)
	}
	return nil
}

// startUpload starts an upload session and returns its URL.
func (c *client) startUpload(ctx context.Context, repo string) (*url.URL, error) {
	path := "/v2/" + repo + "/blobs/uploads/"
	_, h, err := c.exchange(ctx, http.MethodPost, path, nil, http.StatusAccepted)
	if err != nil {
		return nil, err
	}
	return c.location(h)
}

func (c *client) location(h http.Header) (*url.URL, error) {
	u, err := c.base.Parse(h.Get("Location"))
	if err != nil {
		return nil, fmt.Errorf("location of the upload: %w", err)
	}
	return u, nil
}

// pushBlob pushes a blob. If patch is true it sends POST, PATCH with the body, and PUT without one,
// as docker does. Otherwise it sends POST and PUT with the body.
func (c *client) pushBlob(ctx context.Context, repo string, b blob, patch bool) error {
	at, err := c.startUpload(ctx, repo)
	if err != nil {
		return err
	}
	payload := &body{b.open(), b.size, "application/octet-stream"}
	if patch {
		_, h, err := c.exchange(ctx, http.MethodPatch, at.String(), payload, http.StatusAccepted)
		if err != nil {
			return err
		}
		if at, err = c.location(h); err != nil {
			return err
		}
		payload = nil
	}
	if at.RawQuery != "" {
		at.RawQuery += "&"
	}
	at.RawQuery += "digest=" + url.QueryEscape(b.digest)
	_, _, err = c.exchange(ctx, http.MethodPut, at.String(), payload, http.StatusCreated)
	return err
}

func (c *client) putManifest(ctx context.Context, repo, reference string, payload []byte) error {
	b := &body{bytes.NewReader(payload), int64(len(payload)), mediaTypeManifest}
	_, _, err := c.exchange(ctx, http.MethodPut, manifestPath(repo, reference), b, http.StatusCreated)
	return err
}

// delete deletes the manifest or tag at path.
func (c *client) delete(ctx context.Context, path string) error {
	_, _, err := c.exchange(ctx, http.MethodDelete, path, nil, http.StatusAccepted)
	return err
}

// pushImage pushes the blobs one after the other, then the manifest.
func (c *client) pushImage(ctx context.Context, repo, tag string, img image) error {
	if err := c.pushBlob(ctx, repo, img.config, false); err != nil {
		return err
	}
	for _, l := range img.layers {
		if err := c.pushBlob(ctx, repo, l, false); err != nil {
			return err
		}
	}
	return c.putManifest(ctx, repo, tag, img.manifest)
}

func (c *client) pullImage(ctx context.Context, repo, tag string, img image) error {
	if err := c.get(ctx, manifestPath(repo, tag), int64(len(img.manifest))); err != nil {
		return err
	}
	if err := c.get(ctx, blobPath(repo, img.config.digest), img.config.size); err != nil {
		return err
	}
	for _, l := range img.layers {
		if err := c.get(ctx, blobPath(repo, l.digest), l.size); err != nil {
			return err
		}
	}
	return nil
}

func manifestPath(repo, reference string) string { return "/v2/" + repo + "/manifests/" + reference }
func blobPath(repo, digest string) string        { return "/v2/" + repo + "/blobs/" + digest }
