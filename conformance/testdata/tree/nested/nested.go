// Package nested is another module, with rules of its own.
package nested

func init() {}
