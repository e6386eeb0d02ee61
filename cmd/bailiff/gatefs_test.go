package main

import (
	"os"
	"os/exec"
	"testing"

	"bailiff/pkg/gatefs"
)

// TestGateServer is the process that serves a file system that hangs.
func TestGateServer(*testing.T) { gatefs.Serve() }

// hanging is such a file system.
type hanging struct {
	t *testing.T
	*gatefs.FS
}

// mountGate mounts one on a folder, over what is under it.
func mountGate(t *testing.T, at, under string) *hanging {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f, err := gatefs.Mount(exec.Command(self, "-test.run", "^TestGateServer$"), at, under)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return &hanging{t, f}
}

func (h *hanging) hang(ops ...string) {
	h.t.Helper()
	if err := h.Hang(ops...); err != nil {
		h.t.Fatal(err)
	}
}
