package lazyregexp

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// TestNoneAtStart looks for variables of packages that are expressions compiled before main, by
// every command of the line and by the daemon.
func TestNoneAtStart(t *testing.T) {
	seen := 0
	for _, root := range []string{"../../cmd", "../../pkg"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			files := token.NewFileSet()
			file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			seen++
			for _, at := range compiledAtStart(file) {
				t.Errorf("%s: is compiled at every start; use lazyregexp.New, or sync.OnceValue", files.Position(at))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if seen < 100 {
		t.Errorf("%d files looked at: where are the others?", seen)
	}
}

// compiledAtStart is where expressions stand in a file that are compiled before main.
func compiledAtStart(file *ast.File) (out []token.Pos) {
	for _, decl := range file.Decls {
		if d, ok := decl.(*ast.GenDecl); !ok || d.Tok != token.VAR {
			continue
		}
		ast.Inspect(decl, func(n ast.Node) bool {
			if _, ok := n.(*ast.FuncLit); ok {
				return false
			}
			if call, ok := n.(*ast.CallExpr); ok && isCompile(call.Fun) {
				out = append(out, call.Pos())
			}
			return true
		})
	}
	return out
}

func isCompile(f ast.Expr) bool {
	s, ok := f.(*ast.SelectorExpr)
	if !ok || s.Sel.Name != "MustCompile" {
		return false
	}
	pkg, ok := s.X.(*ast.Ident)
	return ok && (pkg.Name == "regexp" || pkg.Name == "pyregexp")
}

// TestFindsCompiled has what is looked for in a file.
func TestFindsCompiled(t *testing.T) {
	const text = `package p
var a = regexp.MustCompile("a")
var (
	b = list(pyregexp.MustCompile("b", 0))
	c = lazyregexp.New("c")
	d = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile("d") })
)
func e() { x := regexp.MustCompile("e") }
`
	file, err := parser.ParseFile(token.NewFileSet(), "p.go", text, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got := compiledAtStart(file); len(got) != 2 {
		t.Errorf("%d found, not the 2 that are compiled", len(got))
	}
}
