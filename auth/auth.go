// Package auth says who is asking and what they may do. It knows nothing of
// HTTP: package api asks a [Policy] once for each request, before anything is
// read or changed.
package auth

// Permission is what a request needs to be let through.
type Permission string

const (
	// None is needed by what tells nothing of any repository.
	None Permission = "none"
	// Pull reads a repository: manifests, blobs, tags, referrers.
	Pull Permission = "pull"
	// Push writes to a repository, and looks after its upload sessions.
	Push Permission = "push"
	// Delete removes manifests, tags and blobs from a repository.
	Delete Permission = "delete"
	// Catalog lists the repositories.
	Catalog Permission = "catalog"
)

// Identity is who asks. The zero value is nobody in particular.
type Identity struct {
	Name string
}

// Policy decides. An implementation is safe for concurrent use.
type Policy interface {
	// May reports whether id has the permission on a repository, whose name is
	// well-formed and may be that of one that does not exist. For None and
	// Catalog the repository is empty.
	May(id Identity, p Permission, repository string) bool
}

// Open is the policy of a registry without users: everyone may do everything.
type Open struct{}

// May returns true.
func (Open) May(Identity, Permission, string) bool { return true }
