package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
)

// growthScenarios compare the subject with itself: the same operations on much data and on little.
func growthScenarios(z sizes) []scenario {
	pair := func(name, title, unit string, limit float64, few int, make func(repo string, tags int) *work) scenario {
		return scenario{
			name: name, title: title, unit: unit, limit: ratioLimit(limit), kind: againstFewTags,
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
			name: "catalog-page", unit: "page", limit: ratioLimit(1.2), kind: againstFewRepos,
			title: fmt.Sprintf("catalog page of %d in the middle of %d repositories, against %d", pageSize, z.repos, fewRepos),
			base:  catalogPage(fewRepos, z), work: catalogPage(z.repos, z),
		},
	}
}

// page returns work that fetches a page repeatedly. The setup checks that the page is full and
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
		ops: changesPerCycle, cycles: z.cycles, clients: clients, warmUpOps: changesPerCycle,
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

// changesPerCycle is the number of tags or manifests that a cycle adds to a repository and deletes
// again, or the number of pages that it fetches.
const changesPerCycle = 100

func newTag(i int) string { return fmt.Sprintf("u%07d", i) }

func putTag(repo string) func(context.Context, *client, int) error {
	payload, err := manifestWithNote("changes")
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

// eachOperation returns a prepare or cleanup function that calls op for each operation of a cycle.
func eachOperation(op func(context.Context, *client, int) error) func(context.Context, *client, int, int) error {
	return func(ctx context.Context, cl *client, _, ops int) error {
		_, err := inParallel(ctx, clients, ops, func(ctx context.Context, i int) error { return op(ctx, cl, i) })
		return err
	}
}

// putTags puts new tags on a manifest that the repository has.
func putTags(repo string, cycles int) *work {
	return &work{
		op: putTag(repo), cleanup: eachOperation(deleteTag(repo)),
		ops: changesPerCycle, cycles: cycles, clients: clients, warmUpOps: changesPerCycle / 4,
	}
}

func deleteTags(repo string, cycles int) *work {
	return &work{
		prepare: eachOperation(putTag(repo)), op: deleteTag(repo),
		ops: changesPerCycle, cycles: cycles, clients: clients, warmUpOps: changesPerCycle / 4,
	}
}

// deleteManifests deletes manifests by digest. Each has one tag.
func deleteManifests(repo string, cycles int) *work {
	manifest := func(i int) ([]byte, error) { return manifestWithNote(fmt.Sprintf("delete %d", i)) }
	return &work{
		prepare: eachOperation(func(ctx context.Context, cl *client, i int) error {
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
		ops: changesPerCycle, cycles: cycles, clients: clients, warmUpOps: changesPerCycle / 4,
	}
}
