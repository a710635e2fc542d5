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

// tagsQuery reads at most n tags after last.
type tagsQuery func(last string, n int) ([]string, error)

// listTags lists the tags of a repository in byte order (spec, "Listing Tags").
func (a *API) listTags(w *response, r *request) error {
	p, err := r.page()
	if err != nil {
		return err
	}
	query := func(last string, n int) ([]string, error) {
		return a.registry.Tags(r.Context(), r.repo, last, n)
	}
	if p.n < 0 || p.n > queryPage {
		return streamTags(w, r.repo, p, query)
	}
	tags, more, err := collect(p.n, p.last, query)
	if err != nil {
		return err
	}
	if more && p.n > 0 {
		nextTags(w, r.repo, p.n, tags[len(tags)-1])
	}
	return writeJSON(w, http.StatusOK, "application/json", tagsPage{r.repo, tags})
}

// nextTags writes the Link to the tags after last.
func nextTags(w *response, repo string, n int, last string) {
	nextPage(w, "/v2/"+repo+"/tags/list", url.Values{"n": {strconv.Itoa(n)}, "last": {last}})
}

// streamTags writes a page of tags that is longer than a query's, or all. It begins
// as any answer does, and has a Content-Length where one query has read it all.
func streamTags(w *response, repo string, p page, query tagsQuery) error {
	end := ""
	if p.n > 0 {
		var err error
		if end, err = query.pageEnd(p); err != nil {
			return err
		}
	}
	tags, more, err := query.upTo(end, p.last)
	if err != nil {
		return err
	}
	if end != "" {
		nextTags(w, repo, p.n, end)
	}
	if !more {
		return writeJSON(w, http.StatusOK, "application/json", tagsPage{repo, tags})
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	if w.head {
		return nil
	}
	return query.send(w, repo, tags, end)
}

// send writes tags and those that follow them up to end. The result of a query is
// sent before the next one, so that neither memory nor a cursor waits for the client.
func (query tagsQuery) send(w *response, repo string, tags []string, end string) error {
	name, err := json.Marshal(repo)
	if err != nil {
		return err
	}
	before := `{"name":` + string(name) + `,"tags":[`
	for more := true; len(tags) > 0; before = "," {
		text, err := json.Marshal(tags)
		if err != nil {
			return err
		}
		last := tags[len(tags)-1]
		// The elements alone, without the array's brackets.
		if _, err := w.Write(append([]byte(before), text[1:len(text)-1]...)); err != nil {
			return err
		}
		if !more {
			break
		}
		if tags, more, err = query.upTo(end, last); err != nil {
			return err
		}
	}
	_, err = w.Write([]byte("]}"))
	return err
}

// pageEnd returns the last tag of a page; "" where no others follow it.
func (query tagsQuery) pageEnd(p page) (end string, err error) {
	end = p.last
	for left := p.n; left > 0; left -= queryPage {
		want := min(left, queryPage)
		tags, err := query(end, want)
		if err != nil || len(tags) < want {
			return "", err
		}
		end = tags[want-1]
	}
	following, err := query(end, 1)
	if len(following) == 0 {
		end = ""
	}
	return end, err
}

// upTo reads tags after last, none beyond end unless that is "", and reports whether
// more of them may follow.
func (query tagsQuery) upTo(end, last string) (tags []string, more bool, err error) {
	if tags, err = query(last, queryPage); err != nil {
		return nil, false, err
	}
	n, more := len(tags), len(tags) == queryPage
	for end != "" && n > 0 && tags[n-1] > end {
		n, more = n-1, false
	}
	if tags == nil {
		tags = []string{} // JSON has an empty array for it
	}
	return tags[:n], more, nil
}
