// Package inner belongs to the room above it.
package inner

type Cache struct{}
