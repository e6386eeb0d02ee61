package main

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"bailiff/pkg/cli"
)

func TestMain(m *testing.M) {
	run := func() {
		if path := os.Getenv("BAILIFF_TEST_GOROUTINES"); path != "" && !slices.Contains(os.Args, "runner") {
			goroutinesTo(path)
		}
		os.Exit(cli.Main(os.Args))
	}
	testscript.Main(raceless{m}, map[string]func(){
		"bailiff": run, "fail2ban-server": run, "fail2ban-client": run, "fail2ban-regex": run,
	})
}

// raceless runs the tests. Where the program is built with the race detector, every race of
// a daemon that they start is one of the tests'.
type raceless struct{ *testing.M }

func (r raceless) Run() int {
	defer func() { os.RemoveAll(builtDir) }()
	if !raced {
		return r.M.Run()
	}
	dir, err := os.MkdirTemp("", "races")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	_ = os.Chmod(dir, 0o777) // daemons may have other users
	os.Setenv("GORACE", "log_path="+dir+"/race")
	code := r.M.Run()
	found, _ := os.ReadDir(dir)
	for _, f := range found {
		text, _ := os.ReadFile(dir + "/" + f.Name())
		fmt.Printf("--- FAIL: a race in a program that the tests started\n%s\n", text)
		code = 1
	}
	return code
}

// TestScripts runs the commands as at a terminal. Daemons of the scripts run in
// network namespaces of their own (unshare -n), so this needs root.
func TestScripts(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("the scripts start daemons in network namespaces: run them as root (make test says how)")
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("TZ", "UTC")
			e.Setenv("GORACE", os.Getenv("GORACE"))
			e.Setenv("STATE_DIRECTORY", e.WorkDir+"/state")
			e.Setenv("SOCK", e.WorkDir+"/sock")
			e.Setenv("REAL_PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
			return os.Chmod(e.WorkDir, 0o755)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"waitfor": waitFor, "log": logLine, "biglog": bigLog,
		},
	})
}

// waitFor FILE REGEX [COUNT] waits until a file holds matches of a regex.
func waitFor(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: waitfor FILE REGEX [COUNT]")
	}
	re, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	count := 1
	if len(args) == 3 {
		count, err = strconv.Atoi(args[2])
		ts.Check(err)
	}
	var text []byte
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		text, _ = os.ReadFile(ts.MkAbs(args[0]))
		if len(re.FindAll(text, count)) >= count {
			return
		}
	}
	ts.Fatalf("%s: no %d matches of %s in 15 s:\n%s", args[0], count, args[1], text)
}

// log FILE N TEXT appends a line N times with the time of now, as Django does.
func logLine(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: log FILE N TEXT")
	}
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	ts.Check(err)
	for range n {
		_, err = fmt.Fprintf(f, "%s %s\n", time.Now().UTC().Format("2006-01-02 15:04:05,000"), args[2])
		ts.Check(err)
	}
	ts.Check(f.Close())
}

// bigLog FILE appends a line of 10 MB, bytes that are no text, and no newline
// between them but at the ends.
func bigLog(ts *testscript.TestScript, neg bool, args []string) {
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	ts.Check(err)
	_, err = f.WriteString(strings.Repeat("Login failure ", 750_000) + "\n")
	ts.Check(err)
	junk := make([]byte, 300_000)
	x := uint32(1)
	for i := range junk {
		x = x*1664525 + 1013904223
		junk[i] = byte(x >> 24)
	}
	_, err = f.Write(append(junk, '\n'))
	ts.Check(err)
	ts.Check(f.Close())
}
