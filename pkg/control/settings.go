package control

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"bailiff/pkg/config"
	"bailiff/pkg/source"
)

// A jail's settings: what holds, where it comes from, and the few that can be changed.

// JailSettings is the answer to GET /v1/jails/JAIL/settings.
type JailSettings struct {
	Jail    string `json:"jail"`
	Running bool   `json:"running"`
	// Settings are all of them, with the places that they come from: a file and a line of it, or none for what the
	// program has by default.
	Settings []SettingStatus `json:"settings"`
	// Parts are those of its filter and its actions, which the owner alone is told of.
	Parts []config.Part `json:"parts,omitempty"`
	// Files are the logs.
	Files []LogStatus `json:"files"`
	// Regexes are what is searched for.
	Regexes []RegexStatus `json:"regexes"`
	// Kept is the file of what was changed for good, and KeptText what is in it; empty: nothing is.
	Kept     string `json:"kept,omitempty"`
	KeptText string `json:"kept_text,omitempty"`
	// KeepNot is why nothing can be changed for good; empty: it can.
	KeepNot string `json:"keep_not,omitempty"`
	// Problems are what could not be asked, and what is wrong in parts.
	Problems []string `json:"problems,omitempty"`
}

// SettingStatus is one setting.
type SettingStatus struct {
	config.Setting
	// Changeable: it can be changed by POST.
	Changeable bool `json:"changeable,omitempty"`
	// Now is what holds in its place, since it was changed while the jail runs.
	Now string `json:"now,omitempty"`
}

// LogStatus is a log.
type LogStatus struct {
	source.Status
	// Size is how long it is, and Lag how much of it is not accounted for, in bytes; -1: that is not known.
	Size int64 `json:"size"`
	Lag  int64 `json:"lag"`
}

// RegexStatus is an expression.
type RegexStatus struct {
	Kind string `json:"kind"` // failregex, ignoreregex, prefregex
	Text string `json:"text"`
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
	// Hits is how often it has matched since the filter was loaded, where that is counted.
	Hits *int64 `json:"hits,omitempty"`
}

// SettingsRequest is the body of POST /v1/jails/JAIL/settings. What isn't there stays.
type SettingsRequest struct {
	Enabled  *bool        `json:"enabled,omitempty"`
	Observe  *bool        `json:"observe,omitempty"`
	MaxRetry *int         `json:"maxretry,omitempty"`
	FindTime *SettingText `json:"findtime,omitempty"`
	BanTime  *SettingText `json:"bantime,omitempty"`
	Filter   *string      `json:"filter,omitempty"` // the name of one, maybe with its mode: sshd[mode=aggressive]
	// Unset are those whose change for good is taken back.
	Unset []string `json:"unset,omitempty"`
	// Keep: for good; else until the next reload, or the end of the daemon.
	Keep bool `json:"keep,omitempty"`
	// Preview: nothing is changed, and told what would be.
	Preview bool   `json:"preview,omitempty"`
	By      string `json:"-"` // the user who asks
}

// SettingText is a time, as text ("10m") or as a number of seconds.
type SettingText string

// UnmarshalJSON implements json.Unmarshaler.
func (t *SettingText) UnmarshalJSON(b []byte) error {
	if b = bytes.TrimSpace(b); len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, (*string)(t))
	}
	n, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil {
		return fmt.Errorf("a time: want seconds, or a text as \"10m\"")
	}
	*t = SettingText(strconv.FormatInt(n, 10))
	return nil
}

// SettingsResult says what became of it.
type SettingsResult struct {
	Jail string `json:"jail"`
	// File is what is written, or would be; empty: it holds until the next reload.
	File string `json:"file,omitempty"`
	// Diff is what changes there, as diff -u tells it.
	Diff string `json:"diff"`
	// Did says what became of the jail: changed, started, stopped, unchanged; empty with Preview.
	Did string `json:"did,omitempty"`
	// Notes are what is to be known of it.
	Notes []string `json:"notes,omitempty"`
}

func changeSettings(d Daemon, r *http.Request, body func(any) error) (any, error) {
	var req SettingsRequest
	if err := body(&req); err != nil {
		return nil, err
	}
	req.By = askedBy(r)
	return d.ChangeSettings(r.PathValue("jail"), req)
}

// forReader leaves out what may hold passwords: what actions and commands are given.
func (s JailSettings) forReader() JailSettings {
	s.Parts = nil
	kept := make([]SettingStatus, 0, len(s.Settings))
	for _, x := range s.Settings {
		switch x.Name {
		case "ignorecommand", "action", "list", "listen", "allow":
			if x.Value != "" {
				x.Value, x.Now = "…", ""
			}
		}
		kept = append(kept, x)
	}
	s.Settings = kept
	return s
}

// Settings returns a jail's settings.
func (c *Client) Settings(jail string) (s JailSettings, err error) {
	return s, c.call("GET", "/v1/jails/"+url.PathEscape(jail)+"/settings", nil, &s)
}

// ChangeSettings changes some of them.
func (c *Client) ChangeSettings(jail string, r SettingsRequest) (s SettingsResult, err error) {
	return s, c.call("POST", "/v1/jails/"+url.PathEscape(jail)+"/settings", r, &s)
}

// ForgetSettings takes back what was changed, for good and for now.
func (c *Client) ForgetSettings(jail string) (s SettingsResult, err error) {
	return s, c.call("DELETE", "/v1/jails/"+url.PathEscape(jail)+"/settings", nil, &s)
}
