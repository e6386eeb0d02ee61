package fail2ban

import (
	"path/filepath"
	"strings"
	"testing"

	"bailiff/pkg/hosttest"
)

// TestMisses checks that what is likely written wrong is told, and nothing that is
// written for others to refer to.
func TestMisses(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"jail.conf":     "[DEFAULT]\nmaxretyr = 3\nbantimes = 5\nlogpaths = /x\nown = 1\n[[DEFAULT]]\n[DEFUALT]\n[one]\nenabld = true\nlogpath = %(logpaths)s\nport = 80\nports = <bantimes>\n",
		"fail2ban.conf": "[Definition]\nlogleveld = INFO\nloglevel = INFO\n[Definitoin]\n",
	} {
		hosttest.Write(t, filepath.Join(dir, name), text)
	}
	tree, err := ReadTree(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range tree.Misses() {
		got = append(got, strings.TrimPrefix(e.Error(), dir+"/"))
	}
	want := []string{
		"jail.conf:2: [DEFAULT] maxretyr: no such option: did you mean maxretry?",
		"jail.conf:6: section [[DEFAULT]]: not the name of a jail, and not DEFAULT or INCLUDES",
		"jail.conf:7: section [DEFUALT]: not the name of a jail, and not DEFAULT or INCLUDES",
		"jail.conf:9: [one] enabld: no such option: did you mean enabled?",
		"fail2ban.conf:2: [Definition] logleveld: no such option: did you mean loglevel?",
		"fail2ban.conf:4: section [Definitoin]: did you mean [Definition]?",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%s", strings.Join(got, "\n"))
	}
	// Debian's own has none.
	if tree, err = ReadTree("/etc/fail2ban"); err != nil || len(tree.Misses()) > 0 {
		t.Error(err, tree.Misses())
	}
}
