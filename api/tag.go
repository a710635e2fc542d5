package api

import (
	"encoding/json"

	"github.com/berth-registry/berth/api/web"
)

// listTags lists the tags of a repository in byte order (spec, "Listing Tags").
func (a *API) listTags(w *web.Response, r *request) error {
	p, err := r.page()
	if err != nil {
		return err
	}
	name, err := json.Marshal(r.repo)
	if err != nil {
		return err
	}
	tags := nameList{
		path:   "/v2/" + r.repo + "/tags/list",
		prefix: `{"name":` + string(name) + `,"tags":[`,
		query:  func(last string, n int) ([]string, error) { return a.registry.Tags(r.Context(), r.repo, last, n) },
	}
	return tags.send(w, p)
}
