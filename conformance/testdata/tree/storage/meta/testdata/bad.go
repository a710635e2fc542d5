// Package common is no part of the tree: it is data of a test.
package common
