package conformance

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// project is the path of the module. The tables have the paths of its packages without it.
const project = "github.com/berth-registry/berth"

// layers has the packages of the project that the code of each directory may import: the design's
// table. A directory without a row breaks the rule, unless it is below one with a row, so that a
// new package needs a decision on its place. A package may always import packages below its own row
// that have no own row. No row has auth/authtest, api/web/webtest, internal/db/dbtest,
// storage/bucket/buckettest, storage/bucket/testbucket or storage/storagetest, which only tests
// import. internal/testserver is in rows of such packages alone.
var layers = map[string][]string{
	"cmd/berth/config": {"auth", "internal/host", "internal/db/postgres", "internal/db/sqlite", "storage/bucket"},
	"cmd/berth": {
		"cmd/berth/config", "cmd/berth/server", "auth", "auth/account", "auth/policy", "auth/rows", "auth/token", "manifest",
		"storage/bucket", "internal/db", "internal/db/sqlite", "internal/durable",
	},
	"cmd/berth/server": {
		"cmd/berth/config", "api", "api/web", "auth", "auth/account", "auth/login", "auth/oidc", "auth/policy", "auth/rows", "auth/token",
		"storage", "storage/bucket", "storage/bucket/cloud", "storage/bucket/dir", "storage/meta",
		"internal/db", "internal/db/postgres", "internal/db/schema", "internal/db/sqlite", "internal/durable",
	},
	"cmd/berth-bench": {},
	"api":             {"api/catalog", "api/web", "auth", "auth/login", "auth/token", "storage", "manifest", "internal/host"},
	"api/catalog":     {"auth"},
	"api/web":         {"internal/host"},
	"api/web/webtest": {},
	"auth":            {"manifest"},
	"auth/policy":     {"auth", "manifest"},
	"auth/token":      {"auth", "auth/rows"},
	"auth/login":      {"auth", "auth/oidc", "auth/rows"},
	"auth/account":    {"auth", "auth/login", "auth/rows"},
	"auth/rows":       {"internal/db"},
	"auth/oidc":       {"auth", "internal/host"},
	"auth/authtest":   {"auth"},
	"storage":         {"storage/bucket", "storage/meta", "manifest", "internal/db", "internal/db/schema"},
	"storage/bucket":  {},
	"storage/meta":    {"manifest", "internal/db", "internal/db/schema"},
	"manifest":        {},

	"storage/bucket/dir":        {"internal/durable", "storage/bucket"},
	"storage/bucket/cloud":      {"storage/bucket"},
	"storage/bucket/buckettest": {"storage/bucket"},
	"storage/bucket/testbucket": {"storage/bucket", "storage/bucket/cloud", "storage/bucket/dir"},
	"storage/storagetest":       {"storage", "manifest"},

	"internal/db":          {},
	"internal/db/schema":   {"internal/db"},
	"internal/db/postgres": {"internal/db"},
	"internal/db/sqlite":   {"internal/db", "internal/durable"},
	"internal/db/dbtest":   {"internal/db", "internal/db/postgres", "internal/db/schema", "internal/db/sqlite", "internal/testserver"},
	"internal/host":        {},
	"internal/durable":     {},
	"internal/testserver":  {},

	"conformance": {}, // uses only a built program
}

// homes has the only directories that may import an external package, or a package below it. Tests
// may import any package.
var homes = map[string][]string{
	"net/http":                             {"api", "auth/authtest", "auth/oidc", "cmd/berth/server", "cmd/berth-bench", "internal/testserver", "storage/bucket/cloud"},
	"net/http/httptest":                    {"auth/authtest"},
	"testing":                              {"auth/authtest", "internal/db/dbtest", "internal/testserver", "storage/bucket/buckettest", "storage/bucket/testbucket", "storage/storagetest"},
	"database/sql":                         {"internal/db/postgres", "internal/db/sqlite"},
	"modernc.org/sqlite":                   {"internal/db/sqlite"},
	"github.com/jackc/pgx/v5":              {"internal/db/postgres", "internal/testserver"},
	"github.com/pressly/goose/v3":          {"internal/db/postgres", "internal/db/sqlite"},
	"gocloud.dev":                          {"storage/bucket/cloud"},
	"github.com/aws":                       {"storage/bucket/cloud"},
	"github.com/Azure":                     {"storage/bucket/cloud"},
	"cloud.google.com/go/storage":          {"storage/bucket/cloud"},
	"google.golang.org/api":                {"storage/bucket/cloud"},
	"github.com/opencontainers/image-spec": {"manifest"},
	"github.com/golang-jwt/jwt/v5":         {"auth/token"},
	"github.com/coreos/go-oidc/v3":         {"auth/oidc"},
	"github.com/go-jose/go-jose/v4":        {"auth/authtest", "auth/oidc"},
	"golang.org/x/crypto/bcrypt":           {"auth/login"},
	"github.com/coreos/go-systemd/v22":     {"cmd/berth/server"},
}

// drivers are the packages that may be imported for their init functions. embed is among them
// because the compiler requires such an import.
var drivers = []string{"modernc.org/sqlite", "gocloud.dev/blob", "embed"}

// emptyNames are names of packages that do not describe their content.
var emptyNames = []string{"util", "utils", "common", "types", "helpers", "misc"}

// TestTree checks the imports and the packages of the source.
func TestTree(t *testing.T) {
	violations, packages, err := checkTree("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range violations {
		t.Error(v)
	}
	for dir := range layers {
		if !slices.Contains(packages, dir) {
			t.Errorf("the table has %s, the tree has not", dir)
		}
	}
}

// TestTreeFindsViolations runs the checker on a tree that breaks each rule once.
func TestTreeFindsViolations(t *testing.T) {
	got, _, err := checkTree("testdata/tree")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"api/handler.go: imports storage/meta, which api may not",
		"api/handler.go: imports testing, which only auth/authtest, internal/db/dbtest, internal/testserver, storage/bucket/buckettest, storage/bucket/testbucket, storage/storagetest may",
		"api/util/util.go: package util: a name that says nothing",
		"api/web/web.go: imports api/web/webtest, which api/web may not",
		"api/web/web.go: imports auth, which api/web may not",
		"auth/auth.go: imports auth/policy, which auth may not",
		"auth/authtest/provider.go: imports auth/oidc, which auth/authtest may not",
		"auth/login/login.go: imports github.com/golang-jwt/jwt/v5, which only auth/token may",
		"auth/login/login.go: imports net/http, which only api, auth/authtest, auth/oidc, cmd/berth/server, cmd/berth-bench, internal/testserver, storage/bucket/cloud may",
		"auth/policy/policy.go: imports auth/token, which auth/policy may not",
		"auth/policy/policy.go: imports github.com/coreos/go-oidc/v3/oidc, which only auth/oidc may",
		"auth/rows/rows.go: imports storage/meta, which auth/rows may not",
		"auth/token/token.go: imports github.com/go-jose/go-jose/v4, which only auth/authtest, auth/oidc may",
		"auth/token/token.go: imports golang.org/x/crypto/bcrypt, which only auth/login may",
		"cmd/berth/config/config.go: imports cmd/berth/server, which cmd/berth/config may not",
		"cmd/berth/config/config.go: imports storage/meta, which cmd/berth/config may not",
		"cmd/berth/main.go: imports auth/authtest, which cmd/berth may not",
		"cmd/berth/main.go: imports net/http, which only api, auth/authtest, auth/oidc, cmd/berth/server, cmd/berth-bench, internal/testserver, storage/bucket/cloud may",
		"cmd/berth/server/server.go: imports net/http/httptest, which only auth/authtest may",
		"extra/extra.go: extra has no row in the table of layers",
		"internal/db/db.go: imports database/sql/driver, which only internal/db/postgres, internal/db/sqlite may",
		"internal/db/schema/schema.go: imports internal/db/sqlite, which internal/db/schema may not",
		"internal/db/sqlite/sqlite.go: imports internal/db/dbtest, which internal/db/sqlite may not",
		"internal/durable/durable.go: imports storage/bucket, which internal/durable may not",
		"manifest/manifest.go: func init",
		"manifest/manifest.go: imports api, which manifest may not",
		"manifest/manifest.go: imports net/http/httputil, which only api, auth/authtest, auth/oidc, cmd/berth/server, cmd/berth-bench, internal/testserver, storage/bucket/cloud may",
		"manifest/manifest_test.go: blank import of expvar, which is no driver",
		"storage/bucket/bucket.go: imports github.com/opencontainers/image-spec/specs-go/v1, which only manifest may",
		"storage/bucket/bucket.go: imports gocloud.dev/blob, which only storage/bucket/cloud may",
		"storage/bucket/bucket.go: imports storage/bucket/cloud, which storage/bucket may not",
		"storage/bucket/cloud/cloud.go: imports storage/bucket/dir, which storage/bucket/cloud may not",
		"storage/bucket/dir/dir.go: imports gocloud.dev/blob/fileblob, which only storage/bucket/cloud may",
		"storage/bucket/dir/dir.go: imports storage/bucket/buckettest, which storage/bucket/dir may not",
		"storage/meta/meta.go: imports internal/db/sqlite, which storage/meta may not",
		"storage/storage.go: imports database/sql/driver, which only internal/db/postgres, internal/db/sqlite may",
		"storage/storage.go: imports gocloud.dev/blob, which only storage/bucket/cloud may",
	}
	if !slices.Equal(got, want) {
		t.Errorf("found\n%s\nexpected\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// checkTree reads the Go files of the module at root, without testdata and nested modules. It
// returns the violations, sorted, and the directories that it has read.
func checkTree(root string) (violations, packages []string, err error) {
	err = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		switch {
		case d.IsDir() && rel != ".":
			if d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") || isModule(p) {
				return filepath.SkipDir
			}
		case strings.HasSuffix(rel, ".go"):
			packages = append(packages, path.Dir(rel))
			found, err := checkFile(p, rel)
			violations = append(violations, found...)
			return err
		}
		return nil
	})
	slices.Sort(violations)
	return violations, packages, err
}

func isModule(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

// checkFile returns the violations in one file. rel is its path in the module.
func checkFile(name, rel string) ([]string, error) {
	file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	var found []string
	violate := func(format string, args ...any) {
		found = append(found, rel+": "+fmt.Sprintf(format, args...))
	}
	dir, test := path.Dir(rel), strings.HasSuffix(rel, "_test.go")
	if slices.Contains(emptyNames, file.Name.Name) {
		violate("package %s: a name that says nothing", file.Name.Name)
	}
	row := layerOf(dir)
	if row == "" {
		violate("%s has no row in the table of layers", dir)
	}
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, err
		}
		if spec.Name != nil && spec.Name.Name == "_" && !slices.ContainsFunc(drivers, func(d string) bool { return within(imported, d) }) {
			violate("blank import of %s, which is no driver", imported)
		}
		if test {
			continue
		}
		if own, ok := strings.CutPrefix(imported, project+"/"); ok {
			if row != "" && layerOf(own) != row && !slices.Contains(layers[row], own) {
				violate("imports %s, which %s may not", own, row)
			}
			continue
		}
		for foreign, may := range homes {
			if within(imported, foreign) && !slices.ContainsFunc(may, func(home string) bool { return within(dir, home) }) {
				violate("imports %s, which only %s may", imported, strings.Join(may, ", "))
			}
		}
	}
	for _, decl := range file.Decls {
		if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
			violate("func init")
		}
	}
	return found, nil
}

// layerOf returns the row of the table for a directory: its own or that of the nearest directory
// above it, or "".
func layerOf(dir string) string {
	for ; dir != "."; dir = path.Dir(dir) {
		if _, ok := layers[dir]; ok {
			return dir
		}
	}
	return ""
}

// within reports whether p is above or a path below it.
func within(p, above string) bool {
	return p == above || strings.HasPrefix(p, above+"/")
}
