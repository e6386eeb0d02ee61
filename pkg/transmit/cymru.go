package transmit

import (
	"context"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"bailiff/pkg/action"
	"bailiff/pkg/control"
	"bailiff/pkg/iplist"
	"bailiff/pkg/jail"
)

// status JAIL cymru tells of whose networks the banned addresses are: autonomous
// system, country and registry, as Team Cymru's name servers say (TXT records of
// origin.asn.cymru.com: "ASN | PREFIX | COUNTRY | REGISTRY | DATE").

const (
	cymruTimeout = 10 * time.Second // for all addresses together
	cymruAtOnce  = 16
)

func cymru(bans []jail.BanStatus) control.List {
	ctx, cancel := context.WithTimeout(context.Background(), cymruTimeout)
	defer cancel()
	found := make([][3]string, len(bans))
	var wg sync.WaitGroup
	var next atomic.Int64
	for range min(cymruAtOnce, len(bans)) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(bans); i = int(next.Add(1)) - 1 {
				found[i] = cymruOf(ctx, bans[i].IP)
			}
		})
	}
	wg.Wait()
	out := control.List{}
	for k, title := range []string{"Banned ASN list", "Banned Country list", "Banned RIR list"} {
		list, seen := control.List{}, map[string]bool{}
		for _, f := range found {
			if !seen[f[k]] {
				seen[f[k]] = true
				list = append(list, f[k])
			}
		}
		out = append(out, control.Tuple{title, list})
	}
	return out
}

func cymruOf(ctx context.Context, ip string) [3]string {
	all := func(s string) [3]string { return [3]string{s, s, s} }
	p, err := iplist.Parse(ip)
	if err != nil {
		return all("unknown")
	}
	zone := "origin.asn.cymru.com"
	if p.Addr().Is6() {
		zone = "origin6.asn.cymru.com"
	}
	if ctx.Err() != nil {
		return all("error")
	}
	answers, err := net.DefaultResolver.LookupTXT(ctx, action.ReverseName(p.Addr())+zone)
	if dns, ok := err.(*net.DNSError); ok && dns.IsNotFound {
		return all("nxdomain")
	}
	if err != nil || len(answers) == 0 {
		return all("error")
	}
	fields := strings.Split(answers[0], "|")
	if len(fields) < 4 {
		return all("unknown")
	}
	return [3]string{strings.TrimSpace(fields[0]), strings.TrimSpace(fields[2]), strings.TrimSpace(fields[3])}
}
