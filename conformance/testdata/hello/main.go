// Hello is the program of the images that the clients push: it prints the SHA-256
// of each file below /content, so that a run shows that every layer arrived whole.
package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	files, err := filepath.Glob("/content/*")
	if err != nil || len(files) == 0 {
		fmt.Fprintln(os.Stderr, "nothing below /content:", err)
		os.Exit(1)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Printf("%x %s\n", sha256.Sum256(b), filepath.Base(f))
	}
}
