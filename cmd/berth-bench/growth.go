package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
)

// growthScenarios compare the subject with itself: the same operations where
// there is much and where there is little.
func growthScenarios(z sizes) []scenario {
	pair := func(name, title, unit string, limit float64, few int, make func(repo string, tags int) *work) scenario {
		return scenario{
			name: name, title: title, unit: unit, limit: atMost(limit), kind: againstFewTags,
			base: make(tagRepo(few), few), work: make(tagRepo(z.tags), z.tags),
		}
	}
	changes := func(how func(repo string, cycles int) *work) func(string, int) *work {
		return func(repo string, _ int) *work { return how(repo, z.cycles) }
	}
	at := func(what string) string { return fmt.Sprintf("%s at %d tags, against %d", what, z.tags, fewTags) }
	return []scenario{
		pair("tags-page", fmt.Sprintf("page of %d in the middle of %d tags, against %d", pageSize, z.tags, pageTags), "page", 1.2, pageTags,
			func(repo string, tags int) *work { return tagsPage(repo, tags, z) }),
		pair("tag-put", at("tag PUT"), "tag", 1.5, fewTags, changes(putTags)),
		pair("tag-delete", at("tag delete"), "tag", 1.5, fewTags, changes(deleteTags)),
		pair("manifest-delete", at("manifest delete by digest"), "manifest", 1.5, fewTags, changes(deleteManifests)),
		{
			name: "catalog-page", unit: "page", limit: atMost(1.2), kind: againstFewRepos,
			title: fmt.Sprintf("catalog page of %d in the middle of %d repositories, against %d", pageSize, z.repos, fewRepos),
			base:  catalogPage(fewRepos, z), work: catalogPage(z.repos, z),
		},
	}
}

// page fetches a page again and again, having checked once that it is full and
// begins with first.
func page(path, first string, z sizes) *work {
	return &work{
		setup: func(ctx context.Context, cl *client) error {
			res, err := cl.do(ctx, http.MethodGet, path, nil, http.StatusOK)
			if err != nil {
				return err
			}
			defer res.Body.Close()
			var list struct{ Tags, Repositories []string }
			if err := json.NewDecoder(res.Body).Decode(&list); err != nil {
				return fmt.Errorf("GET %s: %w", path, err)
			}
			if entries := append(list.Tags, list.Repositories...); len(entries) != pageSize || entries[0] != first {
				return fmt.Errorf("GET %s: want %d entries from %s on, got %q", path, pageSize, first, entries)
			}
			return nil
		},
		ops: changes, cycles: z.cycles, clients: clients, warm: changes,
		op: func(ctx context.Context, cl *client, _ int) error { return cl.get(ctx, path, -1) },
	}
}

func tagsPage(repo string, tags int, z sizes) *work {
	last := tags/2 - pageSize/2
	return page(fmt.Sprintf("/v2/%s/tags/list?n=%d&last=%s", repo, pageSize, tagName(last)), tagName(last+1), z)
}

func catalogPage(repos int, z sizes) *work {
	last := repos/2 - pageSize/2
	return page(fmt.Sprintf("/v2/_catalog?n=%d&last=%s", pageSize, repoName(last)), repoName(last+1), z)
}

// changes is how many tags or manifests a cycle adds to a repository and
// takes away again, or how many pages it asks for.
const changes = 100

func newTag(i int) string { return fmt.Sprintf("u%07d", i) }

func putTag(repo string) func(context.Context, *client, int) error {
	payload, err := noteManifest("changes")
	return func(ctx context.Context, cl *client, i int) error {
		if err != nil {
			return err
		}
		return cl.putManifest(ctx, repo, newTag(i), payload)
	}
}

func deleteTag(repo string) func(context.Context, *client, int) error {
	return func(ctx context.Context, cl *client, i int) error {
		return cl.delete(ctx, manifestPath(repo, newTag(i)))
	}
}

// forAll makes a prepare or cleanup of an operation.
func forAll(op func(context.Context, *client, int) error) func(context.Context, *client, int, int) error {
	return func(ctx context.Context, cl *client, _, ops int) error {
		_, err := inParallel(ctx, clients, ops, func(ctx context.Context, i int) error { return op(ctx, cl, i) })
		return err
	}
}

// putTags gives a manifest that is in the repository new tags.
func putTags(repo string, cycles int) *work {
	return &work{
		op: putTag(repo), cleanup: forAll(deleteTag(repo)),
		ops: changes, cycles: cycles, clients: clients, warm: changes / 4,
	}
}

func deleteTags(repo string, cycles int) *work {
	return &work{
		prepare: forAll(putTag(repo)), op: deleteTag(repo),
		ops: changes, cycles: cycles, clients: clients, warm: changes / 4,
	}
}

// deleteManifests deletes, by digest, manifests that have one tag each.
func deleteManifests(repo string, cycles int) *work {
	manifest := func(i int) ([]byte, error) { return noteManifest(fmt.Sprintf("delete %d", i)) }
	return &work{
		prepare: forAll(func(ctx context.Context, cl *client, i int) error {
			payload, err := manifest(i)
			if err != nil {
				return err
			}
			return cl.putManifest(ctx, repo, newTag(i), payload)
		}),
		op: func(ctx context.Context, cl *client, i int) error {
			payload, err := manifest(i)
			if err != nil {
				return err
			}
			return cl.delete(ctx, manifestPath(repo, digestOf(payload)))
		},
		ops: changes, cycles: cycles, clients: clients, warm: changes / 4,
	}
}
