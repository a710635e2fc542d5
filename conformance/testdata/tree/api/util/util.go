// Package util could be anything.
package util
