// Image makes an image of bailiff for container engines, without one: a tar that podman and
// docker load. There is one layer in it with the static program, the directories that it works in and
// the licences; no shell, no libc, no files of a distribution. The same program, licences and
// SOURCE_DATE_EPOCH give the same bytes.
//
//	image [-arch amd64] [-binary FILE] RELEASE FILE
//	image [-arch amd64] [-binary FILE] -tree DIR RELEASE
//
// Without -binary the program is built. With -tree, what is in the image is put into a directory:
// Containerfile takes it from there. The archive is in the form of OCI's image layout
// (https://github.com/opencontainers/image-spec, image-layout.md), with the manifest.json beside
// it that docker before 25 reads.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

func main() {
	arch := flag.String("arch", runtime.GOARCH, "for which architecture")
	binary := flag.String("binary", "", "the program, built for that architecture; built here without it")
	tree := flag.String("tree", "", "write the files into this directory, and no image")
	flag.Parse()
	if flag.NArg() != 2 && (flag.NArg() != 1 || *tree == "") {
		fmt.Fprintln(os.Stderr, "usage: image [-arch amd64] [-binary FILE] {RELEASE FILE | -tree DIR RELEASE}")
		os.Exit(2)
	}
	if err := run(*arch, *binary, *tree, flag.Arg(0), flag.Arg(1)); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

// name is what the image is called: engines ask no registry for what is of localhost.
const name = "localhost/bailiff"

func run(arch, binary, tree, release, file string) error {
	if binary == "" {
		dir, err := os.MkdirTemp("", "image")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "bailiff")
		if err := build(arch, release, binary); err != nil {
			return err
		}
	}
	if tree != "" {
		return plant(files(binary), tree)
	}
	made, err := epoch()
	if err != nil {
		return err
	}
	l, err := newLayer(files(binary), made)
	if err != nil {
		return err
	}
	archive, err := archive(l, arch, release, made)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(file, archive, 0o644); err != nil {
		return err
	}
	fmt.Printf("%s: %s:%s for %s, %.1f MB\n", file, name, release, arch, float64(len(archive))/1e6)
	return nil
}

// build builds the program as scripts/dist does.
func build(arch, release, to string) error {
	c := exec.Command("go", "build", "-trimpath", "-pgo=auto", "-buildvcs=false", "-ldflags", "-s -w -buildid= -X bailiff/pkg/cli.Version="+release, "-o", to, "./cmd/bailiff")
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	c.Stderr = os.Stderr
	if err := c.Run(); err != nil {
		return fmt.Errorf("go build: %w", err)
	}
	return nil
}

// epoch is the time of everything in the image: SOURCE_DATE_EPOCH, else that of the last commit.
func epoch() (time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		out, err := exec.Command("git", "log", "-1", "--format=%ct").Output()
		if err != nil {
			return time.Time{}, fmt.Errorf("when is it of? git log: %w (or set SOURCE_DATE_EPOCH)", err)
		}
		text = strings.TrimSpace(string(out))
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH=%s: a number of seconds since 1970 is wanted", text)
	}
	return time.Unix(n, 0).UTC(), nil
}
