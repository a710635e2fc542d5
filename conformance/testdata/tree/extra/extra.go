// Package extra has no place in the design.
package extra
