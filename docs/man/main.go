// Command man writes the manual pages into a directory: one for each command from what
// --help says, bailiff.toml(5) and bailiff-filters(5) from the reference of the
// configuration, and those under fail2ban's names.
//
//	go run ./docs/man DIR
package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cpuguy83/go-md2man/v2/md2man"
	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"bailiff/pkg/cli"
	"bailiff/pkg/config"
)

func main() {
	if len(os.Args) != 2 || strings.HasPrefix(os.Args[1], "-") {
		fmt.Fprintln(os.Stderr, "usage: man DIR\nwrites the manual pages into DIR/man5 and DIR/man8")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "man:", err)
		os.Exit(1)
	}
}

const manual = "bailiff's manual"

// write writes all pages. Built twice of the same sources, they are the same: the date is
// SOURCE_DATE_EPOCH's, else none is named.
func write(dir string) error {
	for _, section := range []string{"man5", "man8"} {
		if err := os.MkdirAll(filepath.Join(dir, section), 0o755); err != nil {
			return err
		}
	}
	root := cli.Commands()
	plain(root)
	date := builtAt()
	header := &doc.GenManHeader{Section: "8", Manual: manual, Source: "bailiff " + cli.Version, Date: &date}
	if err := doc.GenManTree(root, header, filepath.Join(dir, "man8")); err != nil {
		return err
	}
	type page struct{ name, section, text string }
	pages := []page{
		{"bailiff.toml", "5", mainPage()},
		{"bailiff-filters", "5", filterPage()},
	}
	for _, name := range cli.OtherNames {
		pages = append(pages, page{name, "8", otherPage(name)})
	}
	for _, p := range pages {
		text := fmt.Sprintf("%% %q %q %q %q %q\n%s", strings.ToUpper(p.name), p.section, date.Format("Jan 2006"), "bailiff "+cli.Version, manual, p.text)
		file := filepath.Join(dir, "man"+p.section, p.name+"."+p.section)
		if err := os.WriteFile(file, md2man.Render([]byte(text)), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// plain has commands without the generator's own tag and with texts that markdown leaves
// as they are.
func plain(c *cobra.Command) {
	c.DisableAutoGenTag = true
	c.Long = escaped(cmp.Or(c.Long, c.Short+"."))
	for _, sub := range c.Commands() {
		plain(sub)
	}
}

func builtAt() time.Time {
	if s, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64); err == nil {
		return time.Unix(s, 0).UTC()
	}
	return time.Now().UTC()
}

// escaped has markdown leave a text as it is.
func escaped(s string) string {
	return strings.NewReplacer(`\`, `\\`, "<", `\<`, ">", `\>`, "*", `\*`, "_", `\_`, "`", "\\`", "[", `\[`, "]", `\]`).Replace(s)
}

func mainPage() string {
	return `# NAME
bailiff.toml - the configuration of bailiff(8)

# SYNOPSIS
**/etc/bailiff/bailiff.toml**, **/etc/bailiff/jails/NAME.toml**

# DESCRIPTION
The configuration is TOML. What it does not say, the stock jails and filters say that the
program carries: a jail of a stock filter's name needs no more than ` + "`enabled = true`" + `. What
stands in **[default]** holds for all jails that don't say otherwise; **[jail.NAME]** is of one, and
comes after what a file **jails/NAME.toml** says, which has the same keys without the table.

Times are numbers with a unit (10m, 1h, 2d, 5w; also together: 1h30m), or bare seconds. Keys
of the family bantime.increment are written in quotes, as they hold a dot.

**bailiff check** reads all of it and tells every mistake with file and line; **bailiff config
show** prints what was resolved, and where each value comes from. **bailiff config reference**
prints this page's keys, also as a JSON schema for editors. The daemon reads its configuration
again by **bailiff reload**: what can't be read stays as it was, and that is told.
` + keys(config.MainFile) + `
# EXAMPLES

    [default]
    ignoreip = ["198.51.100.0/24"]
    bantime = "1h"

    [jail.django-auth]
    enabled = true
    logpath = "/var/log/django/*.log"

    [jail.sshd]
    enabled = true
    backend = "systemd"
    "bantime.increment" = true

# SEE ALSO
**bailiff**(8), **bailiff-filters**(5), **bailiff-check**(8), **bailiff-config-show**(8), **nft**(8)
`
}

func filterPage() string {
	return `# NAME
bailiff-filters - what a failure looks like

# SYNOPSIS
**/etc/bailiff/filters/NAME.toml**

# DESCRIPTION
A filter is a file of TOML, of the name by which jails have it. It says how dates are written,
which lines are failures and whose, by regular expressions in Python's language with
fail2ban's tags, or by the fields of a log of JSON; and it carries lines that prove it. A file
of the name of a stock filter replaces that.

**bailiff filter list** shows the filters that there are, **bailiff filter show** one as it is
written. **bailiff filter new** makes one from lines of a log, **bailiff filter test** runs the
samples, **bailiff filter lint** says what looks weak, and **bailiff filter prove** proves that
whatever a client writes, his own address counts and no other.
` + keys(config.FilterFile) + `
# EXAMPLES

    datepattern = '{^LN-BEG}'
    failregex = '^\s*myapp login of .* failed from <ADDR>$'

    [[sample]]
    line = "2026-01-31 12:00:00 myapp login of bob failed from 192.0.2.7"
    host = "192.0.2.7"
    client = { user = "bob" }

# SEE ALSO
**bailiff.toml**(5), **bailiff-filter**(8), **bailiff-regex**(8), **bailiff-explain**(8)
`
}

// keys are the sections of a file's tables.
func keys(file string) string {
	var out strings.Builder
	heading := ""
	for _, k := range config.Reference() {
		if k.File != file {
			continue
		}
		if h := k.Heading(); h != heading {
			heading = h
			fmt.Fprintf(&out, "\n# KEYS: %s\n", escaped(h))
		}
		fmt.Fprintf(&out, "\n**%s** (%s)\n\n%s\n\n", escaped(k.Written()), escaped(k.Kind()), escaped(k.Text))
		for _, line := range strings.Split(k.Example, "\n") {
			fmt.Fprintf(&out, "    %s\n", line)
		}
	}
	return out.String()
}

func otherPage(name string) string {
	help := cli.Help(name)
	var out strings.Builder
	fmt.Fprintf(&out, "# NAME\n%s - bailiff under the name of fail2ban's program\n\n# SYNOPSIS\n", name)
	fmt.Fprintf(&out, "**%s** --help\n\n# DESCRIPTION\nCalled by this name, bailiff takes fail2ban's options and commands, and answers in its words.\n\n", name)
	for _, line := range strings.Split(strings.TrimRight(help, "\n"), "\n") {
		fmt.Fprintf(&out, "    %s\n", line)
	}
	out.WriteString("\n# SEE ALSO\n**bailiff**(8), **bailiff.toml**(5)\n")
	return out.String()
}
