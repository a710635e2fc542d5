package main

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// sizes are the sizes of the scenarios.
type sizes struct {
	pairs     int // batches of each side in a comparison
	runs      int // batches in a scenario of peak memory
	blob      int64
	cycles    int // in a batch of small operations
	requests  int // in a cycle
	pushes    int // images in a cycle
	pulls     int // images in a cycle
	logins    int // wrong logins in a batch
	tags      int // in the large repository
	repos     int // in the large registry
	uploads   int // concurrent uploads, for peak memory
	uploadLen int64
}

func fullSizes() sizes {
	return sizes{
		pairs: 11, runs: 3, blob: 1 << 30, cycles: 8, requests: 500, pushes: 16, pulls: 50, logins: 20,
		tags: 100_000, repos: 20_000, uploads: 64, uploadLen: 64 << 20,
	}
}

func quickSizes() sizes {
	return sizes{
		pairs: 3, runs: 1, blob: 64 << 20, cycles: 2, requests: 500, pushes: 16, pulls: 50, logins: 4,
		tags: 5000, repos: 1000, uploads: 64, uploadLen: 4 << 20,
	}
}

// The sizes of the small sides of the growth scenarios, and of their pages.
const (
	fewTags  = 100
	pageTags = 200
	fewRepos = 200
	pageSize = 100
)

// clients is the number of clients, unless a scenario's name says otherwise.
const clients = 8

// scenario is one row of the report.
type scenario struct {
	name   string
	title  string
	unit   string // the unit of CPU and rate
	limit  *Limit
	kind   kind
	work   *work                // for the subject, and for the floor in a comparison with it
	base   *work                // for the other side of a comparison with the subject itself
	metric func(sample) float64 // what the ratio compares; nil: CPU per unit
	policy string               // for a subject with users; "": benchPolicy
}

// kind is what a scenario measures and what it compares.
type kind int

const (
	againstFloor      kind = iota // CPU; both start with an empty directory, which later pairs use again
	againstFloorFresh             // CPU; with a new directory for each pair
	againstFewTags                // CPU in two repositories of one process with the large data directory
	againstFewRepos               // CPU with two data directories
	againstOpen                   // CPU of the subject with users, against one without
	authPair                      // two things in one process with users
	authAlone                     // CPU of the subject with users, against nothing
	peakOnly                      // peak memory of the subject, against nothing
	startOnly                     // time until the subject is ready with the large data directory
)

func ratioLimit(ratio float64) *Limit { return &Limit{Kind: limitRatio, Max: ratio} }

// scenarios returns all scenarios in the order of the report.
func scenarios(z sizes, c *content) ([]scenario, error) {
	mib := func(n int64) string { return fmt.Sprintf("%d MiB", n>>20) }
	memory := &Limit{Kind: limitMemory, Max: 128 << 20}
	table := []scenario{
		{name: "push-1", title: "push " + mib(z.blob), unit: "push", limit: ratioLimit(1.25), kind: againstFloorFresh,
			work: pushBlobs(c, 1, 1, z.blob)},
		{name: "push-4", title: "push 4 × " + mib(z.blob/4) + " at once", unit: "4 pushes", limit: ratioLimit(1.25), kind: againstFloorFresh,
			work: pushBlobs(c, 2, 4, z.blob/4)},
	}
	pull1, pull4 := pullBlob(c, 3, 1, z.blob), pullBlob(c, 4, 4, z.blob)
	pull1.cycles = 4
	pull4.cycles, pull4.units = 2, 1
	pullImages, err := pullImages(c, z)
	if err != nil {
		return nil, err
	}
	requests, err := requestScenarios(c, z)
	if err != nil {
		return nil, err
	}
	table = append(table,
		scenario{name: "pull-1", title: "pull " + mib(z.blob), unit: "pull", limit: ratioLimit(1.25), work: pull1},
		scenario{name: "pull-4", title: "pull 4 × " + mib(z.blob) + " at once", unit: "4 pulls", limit: ratioLimit(1.25), work: pull4},
		scenario{name: "image-push", title: "push a small image, 8 clients", unit: "image", limit: ratioLimit(1.6), kind: againstFloorFresh,
			work: pushImages(c, z)},
		scenario{name: "image-pull", title: "pull a small image, 8 clients", unit: "image", limit: ratioLimit(2), work: pullImages},
	)
	table = append(table, requests...)
	guarded, err := authScenarios(c, z)
	if err != nil {
		return nil, err
	}
	table = append(table, guarded...)
	table = append(table, hiddenScenarios(z)...)
	table = append(table, growthScenarios(z)...)
	return append(table,
		scenario{name: "memory-uploads", title: fmt.Sprintf("%d uploads of %s at once", z.uploads, mib(z.uploadLen)), unit: fmt.Sprintf("%d uploads", z.uploads),
			limit: memory, kind: peakOnly, work: pushBlobs(c, 6, z.uploads, z.uploadLen)},
		scenario{name: "memory-downloads", title: fmt.Sprintf("%d downloads of %s at once", z.uploads, mib(z.blob)), unit: "download",
			limit: memory, kind: peakOnly, work: pullBlob(c, 5, z.uploads, z.blob)},
		scenario{name: "start", title: fmt.Sprintf("start with %d tags and %d repositories", z.tags, z.repos), unit: "start",
			limit: &Limit{Kind: limitTime, Max: float64(time.Second)}, kind: startOnly},
	), nil
}

const benchRepo = "bench/app"

// contentID returns an id for content that no other scenario, cycle or operation uses.
func contentID(scenario uint64, cycle, i int) uint64 {
	return scenario<<48 | uint64(cycle+1)<<24 | uint64(i)
}

// pushBlobs pushes n big blobs concurrently, each by POST, PATCH and PUT. A unit is all n.
func pushBlobs(c *content, id uint64, n int, size int64) *work {
	blobs := make([]blob, n)
	return &work{
		ops: n, cycles: 1, clients: n, units: 1, bytes: int64(n) * size,
		prepare: func(_ context.Context, _ *client, cycle, ops int) error {
			for i := range ops {
				var err error
				if blobs[i], err = c.bigBlob(size, contentID(id, cycle, i)); err != nil {
					return err
				}
			}
			return nil
		},
		op: func(ctx context.Context, cl *client, i int) error { return cl.pushBlob(ctx, benchRepo, blobs[i], true) },
	}
}

// pullBlob pulls one big blob n times concurrently.
func pullBlob(c *content, id uint64, n int, size int64) *work {
	// Hashing takes a second, so make it on first use only.
	pulled := sync.OnceValues(func() (blob, error) { return c.bigBlob(size, contentID(id, 0, 0)) })
	return &work{
		seed: func(ctx context.Context, cl *client) error {
			b, err := pulled()
			if err != nil {
				return err
			}
			if err := cl.pushBlob(ctx, benchRepo, b, true); err != nil {
				return err
			}
			return cl.verifyDigest(ctx, blobPath(benchRepo, b.digest), b.digest)
		},
		ops: n, cycles: 1, clients: n, bytes: int64(n) * size,
		op: func(ctx context.Context, cl *client, _ int) error {
			b, err := pulled()
			if err != nil {
				return err
			}
			return cl.get(ctx, blobPath(benchRepo, b.digest), size)
		},
	}
}

// pushImages pushes images of five layers, which share no blobs. The warm-up is as long as a batch:
// until the heap has been collected once, each push pays for the page faults of memory that is new
// to the process, which a registry that has run for a minute does not.
func pushImages(c *content, z sizes) *work {
	batch := z.pushes * z.cycles
	images := make([]image, batch)
	first := 0
	return &work{
		ops: z.pushes, cycles: z.cycles, clients: clients, warmUpOps: batch,
		prepare: func(_ context.Context, _ *client, cycle, ops int) error {
			first = batch + cycle*z.pushes
			if cycle == warmUpCycle {
				first = 0
			}
			for i := range ops {
				var err error
				if images[i], err = c.image(contentID(7, cycle, i), 5); err != nil {
					return err
				}
			}
			return nil
		},
		op: func(ctx context.Context, cl *client, i int) error {
			return cl.pushImage(ctx, benchRepo, fmt.Sprintf("v%d", first+i), images[i])
		},
	}
}

// pullImages pulls twenty images of ten layers in turn.
func pullImages(c *content, z sizes) (*work, error) {
	images := make([]image, 20)
	for i := range images {
		var err error
		if images[i], err = c.image(contentID(8, 0, i), 10); err != nil {
			return nil, err
		}
	}
	tag := func(i int) string { return fmt.Sprintf("pull%d", i) }
	return &work{
		setup: func(ctx context.Context, cl *client) error {
			_, err := inParallel(ctx, clients, len(images), func(ctx context.Context, i int) error {
				return cl.pushImage(ctx, benchRepo, tag(i), images[i])
			})
			return err
		},
		ops: z.pulls, cycles: z.cycles, clients: clients, warmUpOps: z.pulls,
		op: func(ctx context.Context, cl *client, i int) error {
			i %= len(images)
			return cl.pullImage(ctx, benchRepo, tag(i), images[i])
		},
	}, nil
}

// requestScenarios repeat requests for one small image.
func requestScenarios(c *content, z sizes) ([]scenario, error) {
	img, err := c.image(contentID(9, 0, 0), 5)
	if err != nil {
		return nil, err
	}
	const tag = "latest"
	byTag, byDigest := manifestPath(benchRepo, tag), manifestPath(benchRepo, img.digest)
	layer := img.layers[0]
	layerPath := blobPath(benchRepo, layer.digest)
	size := int64(len(img.manifest))
	setup := func(ctx context.Context, cl *client) error {
		if err := cl.pushImage(ctx, benchRepo, tag, img); err != nil {
			return err
		}
		if err := cl.verifyDigest(ctx, byTag, img.digest); err != nil {
			return err
		}
		return cl.verifyDigest(ctx, layerPath, layer.digest)
	}
	request := func(name, title string, limit *Limit, op func(ctx context.Context, cl *client) error) scenario {
		return scenario{name: name, title: title, unit: "request", limit: limit, work: &work{
			setup: setup, ops: z.requests, cycles: z.cycles, clients: clients, warmUpOps: z.requests,
			op: func(ctx context.Context, cl *client, _ int) error { return op(ctx, cl) },
		}}
	}
	return []scenario{
		request("ping", "GET /v2/", nil, func(ctx context.Context, cl *client) error { return cl.get(ctx, "/v2/", -1) }),
		request("manifest-get-tag", "manifest GET by tag", ratioLimit(2.2), func(ctx context.Context, cl *client) error { return cl.get(ctx, byTag, size) }),
		request("manifest-get-digest", "manifest GET by digest", ratioLimit(2.2), func(ctx context.Context, cl *client) error { return cl.get(ctx, byDigest, size) }),
		request("manifest-head-tag", "manifest HEAD by tag", ratioLimit(2.2), func(ctx context.Context, cl *client) error { return cl.head(ctx, byTag, size) }),
		request("manifest-head-digest", "manifest HEAD by digest", ratioLimit(2.2), func(ctx context.Context, cl *client) error { return cl.head(ctx, byDigest, size) }),
		request("blob-head", "blob HEAD", ratioLimit(2.2), func(ctx context.Context, cl *client) error { return cl.head(ctx, layerPath, layer.size) }),
		request("blob-get", "blob GET, 10 KiB", ratioLimit(2.2), func(ctx context.Context, cl *client) error { return cl.get(ctx, layerPath, layer.size) }),
	}, nil
}
