package api

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
)

// tagsPage is the answer to a request for tags.
type tagsPage struct {
	Name string   `json:"name"`
	Tags []string `json:"tags"`
}

// listTags lists the tags of a repository in byte order (spec, "Listing Tags").
func (a *API) listTags(w *response, r *request) error {
	p, err := r.page()
	if err != nil {
		return err
	}
	query := func(last string, n int) ([]string, error) {
		return a.registry.Tags(r.Context(), r.repo, last, n)
	}
	if p.n < 0 {
		return streamTags(w, r.repo, p.last, query)
	}
	tags, more, err := collect(p.n, p.last, query)
	if err != nil {
		return err
	}
	if more && p.n > 0 {
		nextPage(w, "/v2/"+r.repo+"/tags/list", url.Values{"n": {strconv.Itoa(p.n)}, "last": {tags[len(tags)-1]}})
	}
	return writeJSON(w, http.StatusOK, "application/json", tagsPage{r.repo, tags})
}

// streamTags writes all tags after last. A page of them is read, then sent, so
// that neither memory nor a cursor waits for the client.
func streamTags(w *response, repo, last string, query func(last string, n int) ([]string, error)) error {
	tags, err := query(last, queryPage)
	if err != nil {
		return err
	}
	if len(tags) < queryPage {
		if tags == nil {
			tags = []string{}
		}
		return writeJSON(w, http.StatusOK, "application/json", tagsPage{repo, tags})
	}
	w.Header().Set("Content-Type", "application/json")
	name, err := json.Marshal(repo)
	if err != nil {
		return err
	}
	head := []byte(`{"name":` + string(name) + `,"tags":[`)
	for {
		b, err := json.Marshal(tags)
		if err != nil {
			return err
		}
		// The elements alone, without the array's brackets.
		if _, err := w.Write(append(head, b[1:len(b)-1]...)); err != nil {
			return err
		}
		if len(tags) < queryPage {
			break
		}
		if tags, err = query(tags[len(tags)-1], queryPage); err != nil {
			return err
		}
		if len(tags) == 0 {
			break
		}
		head = []byte{','}
	}
	_, err = w.Write([]byte("]}"))
	return err
}
