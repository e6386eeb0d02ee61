package action

import (
	"context"
	"net"
	"os"
	"strings"
	"sync"
	"time"
)

// hostName is this host's name.
func hostName() string {
	name, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	return name
}

// fullHostName is the name with its domain, as far as the resolver knows it.
var fullHostName = sync.OnceValue(func() string {
	name := hostName()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupHost(ctx, name)
	if err != nil || len(addrs) == 0 {
		return name
	}
	names, err := net.DefaultResolver.LookupAddr(ctx, addrs[0])
	if err != nil {
		return name
	}
	for _, full := range names {
		if full = strings.TrimSuffix(full, "."); strings.Contains(full, ".") {
			return full
		}
	}
	return name
})

// always fills in the tags that mean the same in every command.
func always(text string) string {
	if !strings.Contains(text, "<") {
		return text
	}
	for tag, value := range map[string]func() string{
		"<br>": func() string { return "\n" }, "<sp>": func() string { return " " },
		"<fq-hostname>": fullHostName, "<sh-hostname>": hostName,
	} {
		if strings.Contains(text, tag) {
			text = strings.ReplaceAll(text, tag, value())
		}
	}
	return text
}
