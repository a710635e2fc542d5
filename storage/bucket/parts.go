package bucket

import "context"

// PartRemover is a Store that keeps the parts of an object whose Put did not end outside its key.
type PartRemover interface {
	// RemoveParts removes the parts of objects whose Put may not have ended with nil. They are
	// looked up by the key, which costs a request for each. Errors are as for Delete.
	RemoveParts(ctx context.Context, keys ...string) error
}

// RemoveParts calls the RemoveParts of s, and does nothing if s is not a PartRemover. Wrappers are
// PartRemovers that call it with the Store that they wrap.
func RemoveParts(ctx context.Context, s Store, keys ...string) error {
	if remover, ok := s.(PartRemover); ok && len(keys) > 0 {
		return remover.RemoveParts(ctx, keys...)
	}
	return nil
}
