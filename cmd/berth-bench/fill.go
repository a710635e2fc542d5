package main

import (
	"context"
	"fmt"
	"net/http"
)

// What the growth scenarios find: repositories with so many tags, each tag
// with a manifest of its own, and repositories with one image. All manifests
// share a config and a layer, as images of one base do.

func tagRepo(tags int) string { return fmt.Sprintf("tags/with%06d", tags) }
func tagName(i int) string    { return fmt.Sprintf("t%07d", i) }
func repoName(i int) string   { return fmt.Sprintf("r/%07d", i) }

// fillers is how many clients fill at once: enough for commits to be shared.
const fillers = 32

func baseBlobs() (config, layer blob) {
	return bytesBlob([]byte(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}`)),
		bytesBlob([]byte("the layer that all images of the growth scenarios share"))
}

// noteManifest is that of an image of the base blobs.
func noteManifest(note string) ([]byte, error) {
	config, layer := baseBlobs()
	return imageManifest(config, []blob{layer}, note)
}

// fillTags makes a repository with so many tags.
func fillTags(ctx context.Context, cl *client, tags int) error {
	repo := tagRepo(tags)
	config, layer := baseBlobs()
	for _, b := range []blob{config, layer} {
		if err := cl.pushBlob(ctx, repo, b, false); err != nil {
			return err
		}
	}
	// The manifest that tag-put gives its tags, so that it is never new.
	payload, err := noteManifest("changes")
	if err != nil {
		return err
	}
	if err := cl.putManifest(ctx, repo, digestOf(payload), payload); err != nil {
		return err
	}
	_, err = inParallel(ctx, fillers, tags, func(ctx context.Context, i int) error {
		payload, err := noteManifest(tagName(i))
		if err != nil {
			return err
		}
		return cl.putManifest(ctx, repo, tagName(i), payload)
	})
	return err
}

// fillRepos makes so many repositories, whose blobs all but the first mount.
func fillRepos(ctx context.Context, cl *client, repos int) error {
	config, layer := baseBlobs()
	payload, err := noteManifest("repository")
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
	_, err = inParallel(ctx, fillers, repos-1, func(ctx context.Context, i int) error { return one(ctx, i+1) })
	return err
}

// fillMuch makes the large data set of the growth and start scenarios, beside
// the small repositories it is compared with.
func fillMuch(ctx context.Context, cl *client, z sizes) error {
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

// mount makes repo have a blob that from has.
func (c *client) mount(ctx context.Context, repo, digest, from string) error {
	path := "/v2/" + repo + "/blobs/uploads/?mount=" + digest + "&from=" + from
	_, _, err := c.run(ctx, http.MethodPost, path, nil, http.StatusCreated)
	return err
}
