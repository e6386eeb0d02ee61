package filter

import "fmt"

// Expr is one expression as configured.
type Expr struct {
	Text string
	File string // where it stands, if known
	Line int
	// Weight is for how many failures a match counts, which whoever counts them sees to; 0: one.
	Weight int
}

func (e Expr) where() string {
	switch {
	case e.File == "":
		return ""
	case e.Line == 0:
		return e.File + ": "
	}
	return fmt.Sprintf("%s:%d: ", e.File, e.Line)
}

// UseDNS is fail2ban's usedns: what to do with host names in a log.
type UseDNS string

// The values of usedns.
const (
	DNSYes  UseDNS = "yes"  // resolve and ban the addresses
	DNSWarn UseDNS = "warn" // the same, with a warning
	DNSNo   UseDNS = "no"   // names are no hosts
	DNSRaw  UseDNS = "raw"  // take the name as it is: for actions that want it
)

// Definition is a filter as configured, before its expressions are compiled.
type Definition struct {
	Name        string
	Prefregex   Expr   // empty: none
	Failregex   []Expr // nil is an error; of an empty list, nothing matches
	Ignoreregex []Expr
	// Success are lines of who has logged in. They are looked for with Logins only.
	Success     []Expr
	DatePattern []string // empty: the default forms
	LogTimezone string   // of dates that name none; empty: the location given to Compile
	Year        int      // the present one, by which %ExY is bounded
	UseDNS      UseDNS   // empty: warn
	MaxLines    int      // lines looked at together; 0: 1
	// Attempts says that several lines of one connection (F-MLFID) may tell of the same
	// attempt: of one connection, as many failures count as the expression found that
	// matched most often.
	Attempts bool
	// Logins says that successful logins are told, too (Result.Logins): those of Success, and of
	// F-MLFGAINED.
	Logins bool
	// Unwritten says that expressions come later, if at all: none is no mistake.
	Unwritten bool
	// Journal says that lines come with a time of their own and hold no date.
	Journal bool
	// JSON is what is looked at in place of expressions; nil: those are.
	JSON *JSON
	// Head says what becomes of the head of syslog that a line may have.
	Head Head
	// Transport are the names of what stands around the lines of the log; nil: that is
	// found by the lines.
	Transport []string
	// Proxies are the trusted ones; nil: nobody has named them.
	Proxies *Proxies
}
