package api

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"

	"github.com/berth-registry/berth/api/web"
	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/manifest"
	"github.com/berth-registry/berth/storage"
)

// The error codes of the OCI distribution spec and of Docker's registry API.
const (
	codeBlobUnknown         = "BLOB_UNKNOWN"
	codeBlobUploadInvalid   = "BLOB_UPLOAD_INVALID"
	codeBlobUploadUnknown   = "BLOB_UPLOAD_UNKNOWN"
	codeDenied              = "DENIED"
	codeDigestInvalid       = "DIGEST_INVALID"
	codeManifestBlobUnknown = "MANIFEST_BLOB_UNKNOWN"
	codeManifestInvalid     = "MANIFEST_INVALID"
	codeManifestUnknown     = "MANIFEST_UNKNOWN"
	codeManifestUnverified  = "MANIFEST_UNVERIFIED"
	codeNameInvalid         = "NAME_INVALID"
	codeNameUnknown         = "NAME_UNKNOWN"
	codePagination          = "PAGINATION_NUMBER_INVALID"
	codeRangeInvalid        = "RANGE_INVALID"
	codeSizeInvalid         = "SIZE_INVALID"
	codeTagInvalid          = "TAG_INVALID"
	codeTooManyRequests     = "TOOMANYREQUESTS"
	codeUnauthorized        = "UNAUTHORIZED"
	codeUnavailable         = "UNAVAILABLE"
	codeUnknown             = "UNKNOWN"
	codeUnsupported         = "UNSUPPORTED"
)

// The errors of this package.
var (
	errNoRoute          = errors.New("no such path")
	errLongPath         = errors.New("path too long")
	errMethodNotAllowed = errors.New("method not allowed here")
	errMisdirected      = errors.New("not a name of this registry")
	errCrossOrigin      = errors.New("cross-origin request denied")
	errForbidden        = errors.New("access denied")
	errParameter        = errors.New("parameter invalid")
	errPagination       = errors.New("number of results invalid")
	errManifestTooLarge = errors.New("manifest too large")
	errContentEncoding  = errors.New("content coding not supported")
	errRange            = errors.New("range not satisfiable")
	errTooManyRanges    = errors.New("too many ranges")
	errNoMemory         = errors.New("too many manifests at once, try again")
	errStalled          = errors.New("the request's body stood still for too long, or came too slowly")
	errStopping         = errors.New("the registry is stopping")
	errUnauthorized     = errors.New("authentication required")
	errTooManyLogins    = errors.New("too many requests")
	errGrantType        = errors.New("grant type not supported")
)

// problem is the answer to one kind of error.
type problem struct {
	kind       error
	status     int
	code       string
	logged     bool // the operator needs to know
	retryAfter int  // seconds; 0 for no Retry-After
}

// problems are tried in order. The message is that of the manifest.Error, if there is one, or else
// the text of the kind.
var problems = []problem{
	{storage.ErrBlobUnknown, http.StatusNotFound, codeBlobUnknown, false, 0},
	{storage.ErrManifestUnknown, http.StatusNotFound, codeManifestUnknown, false, 0},
	{storage.ErrUploadUnknown, http.StatusNotFound, codeBlobUploadUnknown, false, 0},
	{storage.ErrNameUnknown, http.StatusNotFound, codeNameUnknown, false, 0},
	{storage.ErrManifestBlobUnknown, http.StatusBadRequest, codeManifestBlobUnknown, false, 0},
	{storage.ErrRangeInvalid, http.StatusRequestedRangeNotSatisfiable, codeRangeInvalid, false, 0},
	{storage.ErrSizeInvalid, http.StatusBadRequest, codeSizeInvalid, false, 0},
	{storage.ErrUploadInvalid, http.StatusBadRequest, codeBlobUploadInvalid, false, 0},
	{storage.ErrDenied, http.StatusForbidden, codeDenied, false, 0},
	{storage.ErrPrecondition, http.StatusPreconditionFailed, codeDenied, false, 0},
	{storage.ErrNoSpace, http.StatusInsufficientStorage, codeUnavailable, true, 0},
	{storage.ErrTooManyUploads, http.StatusTooManyRequests, codeTooManyRequests, false, 60},
	{storage.ErrUnavailable, http.StatusServiceUnavailable, codeUnavailable, true, 5},
	{errStopping, http.StatusServiceUnavailable, codeUnavailable, false, 5},
	{errStalled, http.StatusRequestTimeout, codeBlobUploadInvalid, false, 0},
	{storage.ErrClientBody, http.StatusBadRequest, codeBlobUploadInvalid, false, 0},

	{manifest.ErrNameInvalid, http.StatusBadRequest, codeNameInvalid, false, 0},
	{manifest.ErrTagInvalid, http.StatusBadRequest, codeTagInvalid, false, 0},
	{manifest.ErrDigestInvalid, http.StatusBadRequest, codeDigestInvalid, false, 0},
	{manifest.ErrManifestInvalid, http.StatusBadRequest, codeManifestInvalid, false, 0},
	{manifest.ErrManifestUnverified, http.StatusBadRequest, codeManifestUnverified, false, 0},

	{errNoRoute, http.StatusNotFound, codeNameUnknown, false, 0},
	{errLongPath, http.StatusRequestURITooLong, codeNameInvalid, false, 0},
	{errMethodNotAllowed, http.StatusMethodNotAllowed, codeUnsupported, false, 0},
	{errMisdirected, http.StatusMisdirectedRequest, codeDenied, false, 0},
	{errCrossOrigin, http.StatusForbidden, codeDenied, false, 0},
	{errForbidden, http.StatusForbidden, codeDenied, false, 0},
	{errUnauthorized, http.StatusUnauthorized, codeUnauthorized, false, 0},
	{errParameter, http.StatusBadRequest, codeUnsupported, false, 0},
	{errGrantType, http.StatusBadRequest, codeUnsupported, false, 0},
	{auth.ErrMisconfigured, http.StatusInternalServerError, codeUnknown, true, 0},
	{auth.ErrUnavailable, http.StatusServiceUnavailable, codeUnavailable, true, 5},
	{errPagination, http.StatusBadRequest, codePagination, false, 0},
	{errManifestTooLarge, http.StatusRequestEntityTooLarge, codeManifestInvalid, false, 0},
	{errContentEncoding, http.StatusUnsupportedMediaType, codeUnsupported, false, 0},
	{errRange, http.StatusRequestedRangeNotSatisfiable, codeRangeInvalid, false, 0},
	{ErrAuditFull, http.StatusServiceUnavailable, codeUnavailable, true, 5},
	{errTooManyRanges, http.StatusBadRequest, codeRangeInvalid, false, 0},
	{errNoMemory, http.StatusServiceUnavailable, codeTooManyRequests, true, 5},
	{errTooManyLogins, http.StatusTooManyRequests, codeTooManyRequests, false, 1},
}

// messageWithoutPull replaces the message and detail of an error that would disclose content of a
// repository to a caller who may not pull from it.
var messageWithoutPull = map[error]string{
	storage.ErrDenied:       "other content of the repository needs this: delete that first (which, only those are told who may pull)",
	storage.ErrPrecondition: "the condition of the request does not hold (what is there, only those are told who may pull)",
}

// failure is one error of the error body in the spec.
type failure struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Detail  any    `json:"detail,omitempty"`
}

// errorBody is the body of an error. The token endpoint adds OAuth's fields (RFC 6749, 5.2).
type errorBody struct {
	Errors      []failure `json:"errors"`
	OAuth       string    `json:"error,omitempty"`
	Description string    `json:"error_description,omitempty"`
}

// answer sends the answer to an error. The text of an unknown error is logged and not sent to the
// client.
func (a *API) answer(w *web.Response, r *request, err error) {
	if w.Status() != 0 {
		// The header is sent already, so the answer can only be cut.
		w.Fail(err)
		return
	}
	a.releaseAudit(r) // nothing was written; do not hold room while the body is drained
	err = r.bodyError(err)
	p, known := classify(err)
	switch {
	case r.Context().Err() != nil && (!known || errors.Is(err, r.Context().Err())):
		w.ClientGone(err) // the client has left
		return
	case !known:
		a.logError(slog.LevelError, "internal error", r, err)
	case p.logged:
		a.logError(slog.LevelWarn, p.kind.Error(), r, err)
	}
	if p.retryAfter > 0 && w.Header().Get("Retry-After") == "" {
		w.Header().Set("Retry-After", strconv.Itoa(p.retryAfter))
	}
	// These fields were set for the successful answer.
	for _, name := range []string{"Accept-Ranges", "Content-Length", "Docker-Content-Digest", "Etag", "Link", "Oci-Filters-Applied"} {
		w.Header().Del(name)
	}
	told := failureOf(err, p)
	if text, ok := messageWithoutPull[p.kind]; ok && !a.mayPull(r) {
		told.Message, told.Detail = text, nil
	}
	oauth := ""
	if r.oauthErrors {
		oauth = oauthCode(p)
	}
	body, err := encodeError(told, oauth)
	if err == nil {
		err = writeBody(w, p.status, "application/json", body)
	}
	if err != nil {
		w.Fail(err)
	}
}

// maxErrorBody bounds the body of an error, in bytes. Of the clients that bound what they read, the
// strictest read 8 KiB, and show nothing of JSON that is cut.
const maxErrorBody = 8<<10 - 1

// encodeError returns the JSON of an error, of at most maxErrorBody bytes. If it would be longer,
// the message is shortened and the detail is left out. oauth is the code of RFC 6749, 5.2; "" for
// none.
//
// Errors are kept short where they are made. This is for what was overlooked there.
func encodeError(f failure, oauth string) ([]byte, error) {
	text, err := errorJSON(f, oauth)
	if err != nil || len(text) <= maxErrorBody {
		return text, err
	}
	// JSON takes at most 6 bytes for one of the message, which is there twice with OAuth.
	f.Message, f.Detail = web.Shorten(f.Message), nil
	return errorJSON(f, oauth)
}

func errorJSON(f failure, oauth string) ([]byte, error) {
	body := errorBody{Errors: []failure{f}}
	if oauth != "" {
		body.OAuth, body.Description = oauth, f.Message
	}
	return json.Marshal(body)
}

// bodyError returns the reason for which the server ended the body, or else err.
func (r *request) bodyError(err error) error {
	if r.body == nil || !errors.Is(err, storage.ErrClientBody) {
		return err
	}
	switch {
	case r.body.Interrupted():
		return errStopping
	case r.body.Stalled():
		return errStalled
	}
	return err
}

func classify(err error) (p problem, known bool) {
	for _, p := range problems {
		if errors.Is(err, p.kind) {
			return p, true
		}
	}
	return problem{errors.New("internal error"), http.StatusInternalServerError, codeUnknown, true, 0}, false
}

// failureOf returns the failure that the client receives.
func failureOf(err error, p problem) failure {
	f := failure{Code: p.code, Message: p.kind.Error()}
	if e, ok := errors.AsType[*manifest.Error](err); ok && errors.Is(e, p.kind) {
		f.Message, f.Detail = e.Message, e.Detail
	}
	return f
}

// writeJSON sends v with its Content-Length.
func writeJSON(w *web.Response, status int, mediaType string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return writeBody(w, status, mediaType, b)
}

func writeBody(w *web.Response, status int, mediaType string, b []byte) error {
	h := w.Header()
	h.Set("Content-Type", mediaType)
	h.Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(status)
	if w.Head() {
		return nil
	}
	_, err := w.Write(b)
	return err
}
