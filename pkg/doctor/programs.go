package doctor

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"bailiff/pkg/lazyregexp"
)

// Which programs a command of the shell would run.

var (
	quoted   = lazyregexp.New(`'[^']*'|"(?:[^"\\]|\\.)*"|\\\n`)
	between  = lazyregexp.New(`\|\||&&|[;|&\n(){}` + "`" + `]|\$\(`)
	assigns  = lazyregexp.New(`^\w+=\S*$`)
	program  = lazyregexp.New(`^[\w./+-]+$`)
	redirect = lazyregexp.New(`\d*[<>]&?\d*-?\s*\S*`)
)

// shellWords are what the shell does itself.
var shellWords = sync.OnceValue(func() map[string]bool {
	words := map[string]bool{}
	for _, w := range strings.Fields("if then else elif fi for do done while until case esac in ! true false : . [ test echo printf exit return set unset export read cd eval exec command local shift trap wait type ulimit umask break continue sleep kill x0 0") {
		words[w] = true
	}
	return words
})

// missingProgram is the first program of a command that isn't on this host; empty: all are, as
// far as can be told. What stands in quotes or in tags is not looked at.
func missingProgram(text string) string {
	if strings.Contains(text, "<<") || len(text) > 64<<10 {
		return ""
	}
	text = quoted.ReplaceAllString(text, "QUOTED")
	for _, piece := range between.Split(text, -1) {
		words := strings.Fields(redirect.ReplaceAllString(piece, " "))
		for len(words) > 0 && (assigns.MatchString(words[0]) || shellWords()[words[0]] && words[0] != "for" && words[0] != "case" && isLeading(words[0])) {
			words = words[1:]
		}
		if len(words) == 0 || strings.Contains(words[0], "QUOTED") || shellWords()[words[0]] || !program.MatchString(words[0]) {
			continue
		}
		if !isProgram(words[0]) {
			return words[0]
		}
	}
	return ""
}

// isLeading reports whether a word of the shell stands before a command.
func isLeading(word string) bool {
	switch word {
	case "if", "then", "else", "elif", "do", "while", "until", "!", "exec", "command":
		return true
	}
	return false
}

// isProgram reports whether a program is there, where a daemon looks for it.
func isProgram(name string) bool {
	if filepath.IsAbs(name) {
		fi, err := os.Stat(name)
		return err == nil && fi.Mode().IsRegular() && fi.Mode()&0o111 != 0
	}
	if strings.Contains(name, "/") || strings.Trim(name, "0123456789.-+") == "" {
		return true // of a directory that nobody knows; no program
	}
	if _, err := exec.LookPath(name); err == nil {
		return true
	}
	for _, dir := range []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"} {
		if fi, err := os.Stat(filepath.Join(dir, name)); err == nil && fi.Mode().IsRegular() && fi.Mode()&0o111 != 0 {
			return true
		}
	}
	return false
}
