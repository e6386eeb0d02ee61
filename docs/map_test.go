package docs_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestMap wants a row of architecture.md's table for each package, and what a package imports
// in its row, or among those that are for all.
func TestMap(t *testing.T) {
	page := read(t, "architecture.md")
	names := regexp.MustCompile(`[\w/]+`)
	may := map[string]map[string]bool{}
	for line := range strings.Lines(page) {
		if row := regexp.MustCompile("^\\| `(pkg/[\\w/]+)` \\|.*\\| *(.*?) *\\|\n$").FindStringSubmatch(line); row != nil {
			may[row[1]] = map[string]bool{}
			for _, name := range names.FindAllString(row[2], -1) {
				may[row[1]][name] = true
			}
		}
	}
	forAll := map[string]bool{}
	said := regexp.MustCompile(`(?s)For all, and so not in the table: (.*?)\.\n`).FindStringSubmatch(page)
	if said == nil {
		t.Fatal("architecture.md does not say which packages are for all")
	}
	for _, name := range names.FindAllString(said[1], -1) {
		forAll[name] = true
	}
	arrows := 0
	err := filepath.WalkDir("../pkg", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.Contains(path, "testdata") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		dir := strings.TrimPrefix(filepath.ToSlash(filepath.Dir(path)), "../")
		row := may[dir]
		if row == nil {
			t.Errorf("%s has no row in architecture.md", dir)
			may[dir] = map[string]bool{"everything": true}
			return nil
		}
		for _, spec := range file.Imports {
			of, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if name, ours := strings.CutPrefix(of, "bailiff/"); ours {
				arrows++
				if name = strings.TrimPrefix(name, "pkg/"); !row[name] && !row["everything"] && !forAll[name] {
					t.Errorf("%s imports %s, which its row in architecture.md does not name", path, name)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if arrows < 500 {
		t.Errorf("only %d imports were found", arrows)
	}
}
