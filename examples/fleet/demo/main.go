// Command demo plays the story of a fleet with real parts: a hub, three hosts with bailiff and nftables, an attacker and a
// customer, each in a network namespace of its own. It exits with 1 as soon as something is not as expected, and takes
// everything down at its end. Run it as root from the project's root: make demo DEMO=-fleet.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"bailiff/examples/fleet/stage"
)

func main() {
	root := flag.String("root", ".", "the project's `directory`")
	flag.Bool("fleet", true, "this is the fleet's demo")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := play(ctx, *root); err != nil {
		fmt.Fprintln(os.Stderr, "demo: FAILED:", err)
		os.Exit(1)
	}
	fmt.Println("\nall as expected")
}

func play(ctx context.Context, root string) (err error) {
	dir, err := os.MkdirTemp("", "bailiff-fleet-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	bin, err := filepath.Abs(filepath.Join(root, "bin"))
	if err != nil {
		return err
	}
	s, err := stage.New(dir, filepath.Join(bin, "bailiff"), filepath.Join(bin, "bailiff-hub"), func(format string, args ...any) {
		if text := fmt.Sprintf(format, args...); text[0] == '\n' {
			fmt.Println(text)
		} else {
			fmt.Println("  ok  " + text)
		}
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return s.Play(ctx)
}
