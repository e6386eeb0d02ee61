package daemon

import (
	"os"
	"path/filepath"
	"testing"

	"bailiff/pkg/hosttest"
)

func TestGroupMemory(t *testing.T) {
	for _, x := range []struct {
		groups string
		files  map[string]string
		want   int64
	}{
		{"0::/system.slice/bailiff.service\n", map[string]string{"system.slice/memory.max": "max\n", "system.slice/bailiff.service/memory.max": "209715200\n"}, 209715200},
		{"0::/a/b\n", map[string]string{"a/memory.max": "1000000\n", "a/b/memory.max": "2000000\n"}, 1000000},
		{"5:cpu,memory:/x\n1:pids:/y\n0::/\n", map[string]string{"memory/x/memory.limit_in_bytes": "77\n", "memory/memory.limit_in_bytes": "9223372036854771712\n"}, 77},
		{"5:memory:/\n", map[string]string{"memory/memory.limit_in_bytes": "9223372036854771712\n"}, 0},
		{"0::/../x\n", map[string]string{"memory.max": "5\n"}, 5},
		{"", nil, 0},
		{"nothing of the kind\n", nil, 0},
	} {
		root := t.TempDir()
		groups := filepath.Join(root, "groups")
		if err := os.WriteFile(groups, []byte(x.groups), 0o600); err != nil {
			t.Fatal(err)
		}
		for name, text := range x.files {
			hosttest.Write(t, filepath.Join(root, name), text)
		}
		if got := groupMemory(groups, root); got != x.want {
			t.Errorf("%q: %d, want %d", x.groups, got, x.want)
		}
	}
}
