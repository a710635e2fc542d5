package policy

import (
	"go.yaml.in/yaml/v3"

	"github.com/berth-registry/berth/auth"
)

// Limits of a file, which keep decisions and the tests of the file fast.
const (
	maxRules   = 1000
	maxTests   = 1000
	maxIssuers = 100
)

// file is a policy file that is being read. The embedded reader handles the YAML and collects
// faults. The methods of file read the sections. If there are no faults, compile makes a Policy of
// the rules, and runTest runs the tests on it.
type file struct {
	reader
	issuers []auth.Issuer
	groups  map[string]members
	rules   []*rule
	tests   []test
}

// Parse parses a policy file and runs its tests. name is the file's name for errors and for
// relative paths. The error has a line for each fault, "NAME:LINE: ...", and at most twenty of
// them. A test that fails is a fault.
func Parse(name string, data []byte) (*Policy, error) {
	f := &file{reader: reader{file: name}}
	if root := f.document(data); root != nil {
		f.read(root)
	}
	if err := f.err(); err != nil {
		return nil, err
	}
	p := compile(f.rules)
	p.issuers, p.groups = f.issuers, f.groups
	for _, t := range f.tests {
		f.runTest(p, t)
	}
	if err := f.err(); err != nil {
		return nil, err
	}
	return p, nil
}

// read reads the sections in the order of their dependencies.
func (f *file) read(root *yaml.Node) {
	var issuers, groups, rules, tests *yaml.Node
	at := func(n **yaml.Node) func(*yaml.Node) { return func(value *yaml.Node) { *n = value } }
	f.fields(root, "the file", field{"issuers", at(&issuers)}, field{"groups", at(&groups)},
		field{"policy", at(&rules)}, field{"tests", at(&tests)})
	if issuers != nil {
		f.readIssuers(issuers)
	}
	if groups != nil {
		f.readGroups(groups)
	}
	switch {
	case rules != nil:
		f.readRules(rules)
	case len(f.faults) == 0:
		f.addFaultf(root.Line, "there is no section policy, without which nobody may do anything")
	}
	if tests != nil {
		f.readTests(tests)
	}
}

// readGroups reads the groups, which add members to those of the database.
func (f *file) readGroups(n *yaml.Node) {
	f.groups = make(map[string]members)
	for _, e := range f.mapping(n, "groups") {
		if err := auth.CheckAccountName(e.key); err != nil {
			f.addFaultf(e.line, "groups: %v", err)
		}
		group := make(members)
		for _, w := range f.words(e.value, "group "+e.key) {
			if err := auth.CheckAccountName(w.text); err != nil {
				f.addFaultf(w.line, "group %s: expected names of users: %v", e.key, err)
			}
			group[w.text] = struct{}{}
		}
		f.groups[e.key] = group
	}
}
