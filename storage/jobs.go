package storage

import (
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/berth-registry/berth/storage/bucket"
	"github.com/berth-registry/berth/storage/meta"
)

const (
	deleteEvery      = 10 * time.Second // unless the worker is woken before
	expireEvery      = 10 * time.Second
	readBucketEvery  = 10 * time.Second
	jobBatch         = 100
	deletionBatch    = 1000      // which S3 deletes with one request
	finishedTTL      = time.Hour // how long a finished session answers a repeated PUT
	deleteRetryDelay = 10 * time.Minute
	deleteAgainDelay = time.Hour        // for an object whose writer may still be writing it
	claimLease       = 10 * time.Minute // how long a worker has claimed objects for itself
	jobRetryDelay    = 10 * time.Second
)

// RunJobs deletes released objects, removes idle and spare upload sessions, and reads the bucket's
// marker for the metrics, until ctx ends. A job that fails is logged and runs again later.
func (r *Registry) RunJobs(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.runJob(ctx, "delete objects", deleteEvery, r.wakeDeletion, r.deleteObjects) })
	g.Go(func() error {
		defer r.retireAtStop(ctx)
		return r.runJob(ctx, "expire uploads", expireEvery, nil, r.expireUploads)
	})
	g.Go(func() error { return r.runJob(ctx, "read the bucket's marker", readBucketEvery, nil, r.watchMarker) })
	if err := g.Wait(); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// watchMarker is checkMarker, but it does not wait for a bucket that hangs when ctx ends, because
// the process waits for its jobs when it stops.
func (r *Registry) watchMarker(ctx context.Context) error {
	done := make(chan error, 1)
	go func() { done <- r.checkMarker(ctx) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// wakeDeletionWorker tells the deletion worker that objects were released.
func (r *Registry) wakeDeletionWorker() {
	select {
	case r.wakeDeletion <- struct{}{}:
	default:
	}
}

// runJob runs a job now, when it is woken, and at intervals, until ctx ends.
func (r *Registry) runJob(
	ctx context.Context, name string, every time.Duration, wake <-chan struct{}, job func(context.Context) error,
) error {
	for {
		wait, woken := every, wake
		if err := job(ctx); err != nil && ctx.Err() == nil {
			r.log.Error("a job failed and will be tried again", "job", name, "error", err)
			wait, woken = jobRetryDelay, nil // a wake does not shorten the delay after a failure
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-woken:
		case <-time.After(wait):
		}
	}
}

// deleteObjects deletes the objects that are due: first the object, durably, then its row. It fails
// if the bucket is not this registry's, so that a copied database never deletes the bytes of the
// original.
func (r *Registry) deleteObjects(ctx context.Context) error {
	if err := r.readClock(ctx); err != nil {
		return err
	}
	for ctx.Err() == nil {
		now := r.nowMicro()
		objects, err := r.claimDeletable(ctx, now)
		if err != nil || len(objects) == 0 {
			return err
		}
		if err := r.deleteBatch(ctx, objects, now); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// claimDeletable returns objects that are due, after it has checked the marker. No other worker
// gets them for claimLease.
func (r *Registry) claimDeletable(ctx context.Context, now int64) (objects []meta.Object, err error) {
	if objects, err = r.db.Deletable(ctx, now, deletionBatch); err != nil || len(objects) == 0 {
		return nil, err
	}
	if err := r.checkMarker(ctx); err != nil {
		return nil, err
	}
	if r.db.Exclusive() { // this is the only worker
		return objects, nil
	}
	err = r.tx(ctx, func(tx *meta.Tx) (err error) {
		objects, err = tx.ClaimDeletable(now, now+claimLease.Microseconds(), deletionBatch)
		return err
	})
	return objects, err
}

// deleteBatch deletes objects and then their rows. An object that cannot be deleted is postponed,
// and the others do not wait for it. If the bucket itself fails, nothing is postponed.
func (r *Registry) deleteBatch(ctx context.Context, objects []meta.Object, now int64) error {
	keys := keysOf(objects)
	var failed []string
	deleteErr := r.deleteFromBucket(ctx, objects...)
	if deleteErr != nil {
		if err := r.checkMarker(ctx); err != nil {
			return errors.Join(deleteErr, err)
		}
		keys, failed = r.deleteOneByOne(ctx, objects)
	}
	return errors.Join(deleteErr, r.tx(ctx, func(tx *meta.Tx) error {
		if err := tx.PostponeObjects(failed, now+deleteRetryDelay.Microseconds()); err != nil {
			return err
		}
		return tx.ForgetObjects(keys, now+deleteAgainDelay.Microseconds())
	}))
}

func (r *Registry) deleteOneByOne(ctx context.Context, objects []meta.Object) (deleted, failed []string) {
	for _, o := range objects {
		if r.deleteFromBucket(ctx, o) == nil {
			deleted = append(deleted, o.Key)
		} else {
			failed = append(failed, o.Key)
		}
	}
	return deleted, failed
}

// deleteFromBucket deletes objects. One without a size was never recorded, so that its Put may have
// left parts.
func (r *Registry) deleteFromBucket(ctx context.Context, objects ...meta.Object) error {
	unrecorded := slices.DeleteFunc(slices.Clone(objects), func(o meta.Object) bool { return o.Size > 0 })
	if err := bucket.RemoveParts(ctx, r.bucket, keysOf(unrecorded)...); err != nil {
		return err
	}
	return r.bucket.Delete(ctx, keysOf(objects)...)
}

func keysOf(objects []meta.Object) []string {
	keys := make([]string, len(objects))
	for i, o := range objects {
		keys[i] = o.Key
	}
	return keys
}

// expireUploads ends sessions that were idle for UploadExpiry, removes spare sessions, and deletes
// finished sessions after finishedTTL.
func (r *Registry) expireUploads(ctx context.Context) error {
	if err := errors.Join(r.readClock(ctx), r.retireSpares(ctx)); err != nil {
		return err
	}
	for ctx.Err() == nil {
		now := r.now()
		open := now.Add(-r.opts.UploadExpiry).UnixMicro()
		finished := now.Add(-min(finishedTTL, r.opts.UploadExpiry)).UnixMicro()
		ids, err := r.db.IdleUploads(ctx, open, finished, jobBatch)
		if err != nil || len(ids) == 0 {
			return err
		}
		var expired int64
		err = r.tx(ctx, func(tx *meta.Tx) (err error) {
			expired, err = tx.ExpireUploads(ids, open, finished, now.UnixMicro())
			return err
		})
		if err != nil || expired == 0 { // another process is at them
			return err
		}
		r.wakeDeletionWorker()
	}
	return ctx.Err()
}
