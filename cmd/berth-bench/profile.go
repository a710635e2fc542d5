package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// profileTime is how long a scenario is profiled.
const profileTime = 5 * time.Second

// profile continues the scenario's work without measuring it, and writes a CPU profile of the
// server.
func (b *bench) profile(ctx context.Context, sc scenario, r runner) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		url := fmt.Sprintf("%s/debug/pprof/profile?seconds=%d", r.debugURL, int(profileTime.Seconds()))
		done <- download(ctx, url, filepath.Join(b.profiles, sc.name+".pprof"))
	}()
	for batch := b.sizes.pairs; ; batch++ {
		select {
		case err := <-done:
			return err
		default:
		}
		if _, err := measure(ctx, batch, r); err != nil {
			return err
		}
	}
}

func download(ctx context.Context, url, path string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", url, res.Status)
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(f, res.Body)
	return err
}
