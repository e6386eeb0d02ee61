package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bailiff/pkg/hosttest"
)

// TestUntrusted: of each file of a configuration and of all that leads there it is looked who
// may write to it. It needs root, to give files away.
func TestUntrusted(t *testing.T) {
	const tree = "jail.conf:[INCLUDES]\nbefore = paths.conf\n[DEFAULT]\n[x]\nenabled = true\nlogpath = /dev/null\nfilter = f\naction = a\n|" +
		"paths.conf:[DEFAULT]\n|jail.d/more.local:[x]\nmaxretry = 3\n|filter.d/f.conf:[Definition]\nfailregex = ^x <HOST>\n|" +
		"filter.d/unused.conf:[Definition]\n|action.d/a.conf:[Definition]\nactionban = true\n|fail2ban.conf:[Definition]\nloglevel = INFO\n"
	const own = "bailiff.toml:[jail.x]\nenabled = true\nfailregex = '^x <HOST>'\nlogpath = \"/dev/null\"\n|jails/y.toml:enabled = false\n|filters/f.toml:failregex = ['^x <HOST>']\n"
	chown := func(uid int) func(string) error {
		return func(p string) error { return os.Lchown(p, uid, 0) }
	}
	chmod := func(mode os.FileMode) func(string) error {
		return func(p string) error { return os.Chmod(p, mode) }
	}
	for _, c := range []struct {
		name, files, path string
		change            func(string) error
		want              string // @: the path
	}{
		{"as it should be", tree, ".", chmod(0o755), ""},
		{"as it should be", own, ".", chmod(0o755), ""},
		{"jail.conf", tree, "jail.conf", chown(1000), "@ belongs to user 1000: chown root @"},
		{"an include", tree, "paths.conf", chmod(0o664), "@ can be written by its group (0): chmod g-w @"},
		{"what is over it", tree, "jail.d/more.local", chmod(0o646), "@ can be written by everybody: chmod go-w @"},
		{"the directory of that", tree, "jail.d", chown(65534), "@ belongs to user 65534: chown root @"},
		{"a filter", tree, "filter.d/f.conf", chown(1000), "@ belongs to user 1000: chown root @"},
		{"a filter of no jail", tree, "filter.d/unused.conf", chown(1000), ""},
		{"an action", tree, "action.d/a.conf", chmod(0o666), "@ can be written by everybody: chmod go-w @"},
		{"the server's", tree, "fail2ban.conf", chown(1000), "@ belongs to user 1000: chown root @"},
		{"the directory", tree, ".", chmod(0o775), "@ can be written by its group (0): chmod g-w @"},
		{"a directory like /tmp", tree, "jail.d", chmod(0o777 | os.ModeSticky), ""},
		{"bailiff.toml", own, "bailiff.toml", chown(1000), "@ belongs to user 1000: chown root @"},
		{"a jail", own, "jails/y.toml", chmod(0o620), "@ can be written by its group (0): chmod g-w @"},
		{"their directory", own, "jails", chmod(0o757), "@ can be written by everybody: chmod go-w @"},
		{"a filter of ours", own, "filters/f.toml", chown(1000), "@ belongs to user 1000: chown root @"},
		{"a link of somebody's", own, "bailiff.toml", func(p string) error {
			if err := os.Rename(p, p+".real"); err != nil {
				return err
			}
			if err := os.Symlink(p+".real", p); err != nil {
				return err
			}
			return os.Lchown(p, 1000, 0)
		}, "@ belongs to user 1000: chown -h root @"},
		{"a link to somebody's", own, "jails/y.toml", func(p string) error {
			to := filepath.Join(filepath.Dir(filepath.Dir(p)), "elsewhere")
			if err := os.Mkdir(to, 0o755); err != nil {
				return err
			}
			if err := os.Rename(p, to+"/y"); err != nil {
				return err
			}
			if err := os.Symlink("../elsewhere/y", p); err != nil {
				return err
			}
			return os.Chown(to, 1000, 0)
		}, "elsewhere belongs to user 1000: chown root"},
		{"this user's own", own, "bailiff.toml", chown(4711), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, f := range strings.Split(c.files, "|") {
				name, text, _ := strings.Cut(f, ":")
				path := filepath.Join(dir, name)
				hosttest.Write(t, path, text)
			}
			path := filepath.Join(dir, c.path)
			if err := c.change(path); err != nil {
				t.Fatal(err, ": it needs root")
			}
			cfg, err := Load(Options{Path: dir})
			if err != nil {
				t.Fatal(err)
			}
			var texts []string
			for _, e := range cfg.Untrusted(4711) {
				texts = append(texts, e.Error())
			}
			got, want := strings.Join(texts, "\n"), strings.ReplaceAll(c.want, "@", path)
			if want == "" && got != "" || len(texts) > 1 || !strings.Contains(got, want) {
				t.Errorf("%q, want %q", got, want)
			}
		})
	}
}
