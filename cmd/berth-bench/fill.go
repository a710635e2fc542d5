package main

import (
	"context"
	"fmt"
	"net/http"
)

// The data of the growth scenarios: repositories with a given number of tags, each tag with its own
// manifest, and repositories with one image each. All manifests share a config and a layer, like
// images with a common base.

func tagRepo(tags int) string { return fmt.Sprintf("tags/with%06d", tags) }
func tagName(i int) string    { return fmt.Sprintf("t%07d", i) }
func repoName(i int) string   { return fmt.Sprintf("r/%07d", i) }

// fillClients is the number of clients that fill a registry: enough for group commits.
const fillClients = 32

func baseBlobs() (config, layer blob) {
	return bytesBlob([]byte(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}`)),
		bytesBlob([]byte("the layer that all images of the growth scenarios share"))
}

// manifestWithNote returns a manifest of the base blobs.
func manifestWithNote(note string) ([]byte, error) {
	config, layer := baseBlobs()
	return imageManifest(config, []blob{layer}, note)
}

// fillTags makes a repository with a number of tags.
func fillTags(ctx context.Context, cl *client, tags int) error {
	repo := tagRepo(tags)
	config, layer := baseBlobs()
	for _, b := range []blob{config, layer} {
		if err := cl.pushBlob(ctx, repo, b, false); err != nil {
			return err
		}
	}
	// This manifest exists before tag-put tags it.
	payload, err := manifestWithNote("changes")
	if err != nil {
		return err
	}
	if err := cl.putManifest(ctx, repo, digestOf(payload), payload); err != nil {
		return err
	}
	_, err = inParallel(ctx, fillClients, tags, func(ctx context.Context, i int) error {
		payload, err := manifestWithNote(tagName(i))
		if err != nil {
			return err
		}
		return cl.putManifest(ctx, repo, tagName(i), payload)
	})
	return err
}

// fillRepos makes a number of repositories. All but the first mount their blobs.
func fillRepos(ctx context.Context, cl *client, repos int) error {
	config, layer := baseBlobs()
	payload, err := manifestWithNote("repository")
	if err != nil {
		return err
	}
	one := func(ctx context.Context, i int) error {
		for _, b := range []blob{config, layer} {
			var err error
			if i == 0 {
				err = cl.pushBlob(ctx, repoName(i), b, false)
			} else {
				err = cl.mount(ctx, repoName(i), b.digest, repoName(0))
			}
			if err != nil {
				return err
			}
		}
		return cl.putManifest(ctx, repoName(i), "latest", payload)
	}
	if err := one(ctx, 0); err != nil {
		return err
	}
	_, err = inParallel(ctx, fillClients, repos-1, func(ctx context.Context, i int) error { return one(ctx, i+1) })
	return err
}

// fillLarge makes the large data set of the growth and start scenarios, and the small repositories
// that it is compared with.
func fillLarge(ctx context.Context, cl *client, z sizes) error {
	for _, tags := range []int{fewTags, pageTags, z.tags} {
		if err := fillTags(ctx, cl, tags); err != nil {
			return fmt.Errorf("filling a repository with %d tags: %w", tags, err)
		}
	}
	if err := fillRepos(ctx, cl, z.repos); err != nil {
		return fmt.Errorf("filling %d repositories: %w", z.repos, err)
	}
	return nil
}

// mount mounts a blob of the repository from into repo.
func (c *client) mount(ctx context.Context, repo, digest, from string) error {
	path := "/v2/" + repo + "/blobs/uploads/?mount=" + digest + "&from=" + from
	_, _, err := c.exchange(ctx, http.MethodPost, path, nil, http.StatusCreated)
	return err
}
