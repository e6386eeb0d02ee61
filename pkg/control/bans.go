package control

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"bailiff/pkg/jail"
)

// Bans by pages: what a page shows of a million.

// BansQuery says which bans are wanted, and in which order.
type BansQuery struct {
	// Search are words, all of which a ban has to have: an address or a network finds what is in
	// it and what holds it, any other word a part of the address, of an id or of the jail's name;
	// with a * at one of its ends, so does an address.
	Search string
	Jail   string // empty: of all
	Sort   string // one of BanSorts, with - before it the other way around; empty: -time
	Limit  int    // how many; 0: BansLimit
	// After and Before are Next and Prev of another page: what comes behind, or before it.
	After, Before string
}

const (
	// BansLimit is how many bans a page has by default, and BansMost the most that it can have.
	BansLimit = 100
	BansMost  = 1000
	// SearchMost is how long a search may be in bytes, and SearchWords how many words it may have.
	SearchMost  = 256
	SearchWords = 8
)

// BanSorts are the orders in which bans can be had: when they began, when they end (those without
// an end last), by address, by jail, by how often.
var BanSorts = []string{"time", "end", "ip", "jail", "count"}

// BansPage is the answer to GET /v1/bans with any of its parameters but jail alone.
type BansPage struct {
	Bans []jail.BanStatus `json:"bans"`
	// Total is how many bans match, Offset how many of them come before these, and All how
	// many bans there are in all jails that were looked at.
	Total  int `json:"total"`
	Offset int `json:"offset"`
	All    int `json:"all"`
	// Next and Prev are what after and before are to be for the pages behind and before this
	// one; empty: there is none.
	Next string `json:"next,omitempty"`
	Prev string `json:"prev,omitempty"`
	// Problems are what could not be asked: bans of a jail that is busy are missing.
	Problems []string `json:"problems,omitempty"`
}

// BanPlace is a place in the order of bans: that of one of them, whether it is still there or not.
type BanPlace struct {
	Sort  string `json:"s"`
	Value int64  `json:"v"` // ns since 1970, or the count
	Jail  string `json:"j"`
	ID    string `json:"i"`
	Name  bool   `json:"n,omitempty"`
}

// Text is the place as a text without characters that mean something in an address.
func (p BanPlace) Text() string {
	b, _ := json.Marshal(p) // it has nothing that can't be
	return base64.RawURLEncoding.EncodeToString(b)
}

// ParseBanPlace reads Text of a place in an order.
func ParseBanPlace(text, sort string) (p BanPlace, err error) {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	if err != nil {
		return p, fmt.Errorf("after, before: %.40q is not a place that a page gave: begin at the first page", text)
	}
	if p.Sort != sort {
		return p, fmt.Errorf("the place is one in the order %.20q, and not in %.20q: begin at the first page", p.Sort, sort)
	}
	return p, nil
}

// Order returns what bans are sorted by, and whether the other way around.
func (q *BansQuery) Order() (by string, down bool) {
	if q.Sort == "" {
		return "time", true
	}
	by, down = strings.CutPrefix(q.Sort, "-")
	return by, down
}

// values are the query as parameters.
func (q *BansQuery) values() url.Values {
	v := url.Values{}
	for key, text := range map[string]string{"q": q.Search, "jail": q.Jail, "sort": q.Sort, "after": q.After, "before": q.Before} {
		if text != "" {
			v.Set(key, text)
		}
	}
	v.Set("limit", strconv.Itoa(cmp.Or(q.Limit, BansLimit)))
	return v
}

// readBansQuery reads what a request asks for; paged is false of the plain list of all bans.
func readBansQuery(r *http.Request) (q BansQuery, paged bool, err error) {
	values := r.URL.Query()
	for _, key := range []string{"q", "sort", "limit", "after", "before"} {
		paged = paged || values.Has(key)
	}
	if !paged {
		return q, false, nil
	}
	bad := func(format string, args ...any) (BansQuery, bool, error) {
		return q, true, badRequest{fmt.Errorf(format, args...)}
	}
	for key, list := range values {
		if len(list) > 1 {
			return bad("parameter %.40q stands there more than once", key)
		}
		switch v := list[0]; key {
		case "q":
			q.Search = v
		case "jail":
			q.Jail = v
		case "sort":
			q.Sort = v
		case "after":
			q.After = v
		case "before":
			q.Before = v
		case "limit":
			if q.Limit, err = strconv.Atoi(v); err != nil || q.Limit < 1 || q.Limit > BansMost {
				return bad("limit=%.40q: want 1 to %d", v, BansMost)
			}
		default:
			return bad("unknown parameter %.40q: want q, jail, sort, limit, after, before", key)
		}
	}
	by, _ := q.Order()
	switch {
	case !slices.Contains(BanSorts, by):
		return bad("sort=%.40q: want %s, each with - before it the other way around", q.Sort, strings.Join(BanSorts, ", "))
	case q.After != "" && q.Before != "":
		return bad("after and before: want one of them")
	case len(q.Search) > SearchMost || len(strings.Fields(q.Search)) > SearchWords:
		return bad("q: want %d words and %d bytes at the most", SearchWords, SearchMost)
	}
	q.Limit = cmp.Or(q.Limit, BansLimit)
	return q, true, nil
}

func bans(d Daemon, r *http.Request, _ func(any) error) (any, error) {
	q, paged, err := readBansQuery(r)
	switch of := r.URL.Query().Get("jail"); {
	case err != nil:
		return nil, err
	case paged:
		return d.SearchBans(q)
	case r.URL.Query().Get("format") == "text":
		who, err := d.ShutOut(of)
		return plain(who), err
	default:
		return d.Bans(of)
	}
}

// SearchBans returns a page of the bans.
func (c *Client) SearchBans(q BansQuery) (p BansPage, err error) {
	return p, c.call("GET", "/v1/bans?"+q.values().Encode(), nil, &p)
}

// SearchPatience is how long the jails are asked for a page of bans.
const SearchPatience = 5 * time.Second
