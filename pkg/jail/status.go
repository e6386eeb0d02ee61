package jail

import (
	"sync/atomic"
	"time"

	"bailiff/pkg/config"
	"bailiff/pkg/source"
)

// visible is what others may look at at any time.
type visible struct {
	settings atomic.Pointer[config.Jail]
	shown    numbers
	hits     hits
	counters *counters
	told     tickets         // how many bans, in the log
	telling  atomic.Bool     // it waits to be told until actions have come to them
	teller   teller          // of what the filter captured, at a ban
	hadLogs  map[string]bool // by path: those that it followed before a reload, too
	listing  listing
	hasBegun atomic.Bool
	work     work // what its goroutine does at the moment
}

// Status is what a jail tells of itself.
type Status struct {
	Name        string  `json:"name"`
	Error       string  `json:"error,omitempty"` // why it is not running
	Busy        string  `json:"busy,omitempty"`  // why something is not told
	Failed      int     `json:"currently_failed"`
	TotalFailed int     `json:"total_failed"`
	Banned      int     `json:"currently_banned"`
	TotalBanned int     `json:"total_banned"`
	MaxRetry    int     `json:"maxretry"`
	FindTime    float64 `json:"findtime"` // seconds
	BanTime     float64 `json:"bantime"`  // seconds; -1: for ever
	// Counting says what counts, where it isn't each failure once; empty: that is so.
	Counting string          `json:"counting,omitempty"`
	List     bool            `json:"list,omitempty"` // it is one of addresses; Banned are ranges of them
	Files    []source.Status `json:"files"`
	Bans     []BanStatus     `json:"bans"`
	// Observe: the jail bans nobody; WouldBan are so many that would be banned now,
	// TotalWouldBan in all, and WouldBans these.
	Observe       bool        `json:"observe,omitempty"`
	WouldBan      int         `json:"would_ban,omitempty"`
	TotalWouldBan int         `json:"total_would_ban,omitempty"`
	WouldBans     []BanStatus `json:"would_bans,omitempty"`
	// Problems are what is wrong in parts, and what the jail waits for, while it runs.
	Problems []string `json:"problems,omitempty"`
	// ByCommands tells of actions that ban by commands of their own, and what that lacks.
	ByCommands []string `json:"by_commands,omitempty"`
}

// BanStatus is one ban as others see it.
type BanStatus struct {
	Jail string `json:"jail"`
	IP   string `json:"ip"` // address or network; or, with Name, any other text
	Name bool   `json:"name,omitempty"`
	// Address is the one that stood beside IP in the lines: that is shut out.
	Address string     `json:"address,omitempty"`
	Start   time.Time  `json:"start"`
	End     *time.Time `json:"end"` // null: for ever
	// Count is how often it was banned in the jail, with this time; 0: that is not known.
	Count int `json:"count,omitempty"`
}
