package cli

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestExamples takes the examples that commands print in their help: each names a command
// that there is, with options that it has and as many words as it takes.
func TestExamples(t *testing.T) {
	n := 0
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		for _, line := range strings.Split(c.Example, "\n") {
			line, _, _ = strings.Cut(line, "  #")
			for _, one := range strings.Split(line, " | ") {
				if rest, ok := strings.CutPrefix(strings.TrimSpace(one), "bailiff "); ok {
					example(t, rest)
					n++
				}
			}
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(newRoot())
	if n < 30 {
		t.Errorf("only %d examples found", n)
	}
}

func example(t *testing.T, line string) {
	t.Helper()
	root := newRoot()
	words := shellWords(line)
	c, rest, err := root.Find(words)
	if err != nil {
		t.Errorf("bailiff %s: %v", line, err)
		return
	}
	if c.DisableFlagParsing {
		return
	}
	if err := c.ParseFlags(rest); err != nil {
		t.Errorf("bailiff %s: %v", line, err)
		return
	}
	if c.Args != nil {
		if err := c.Args(c, c.Flags().Args()); err != nil {
			t.Errorf("bailiff %s: %v", line, err)
		}
	}
}

// shellWords parts a line at blanks, but for those in quotes.
func shellWords(line string) (out []string) {
	word, quote, in := "", rune(0), false
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '\'' || r == '"'):
			quote, in = r, true
		case quote == 0 && r == ' ':
			if in || word != "" {
				out = append(out, word)
			}
			word, in = "", false
		default:
			word += string(r)
		}
	}
	if in || word != "" {
		out = append(out, word)
	}
	return out
}
