package control

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/finding"
)

// TestDoctor: what is asked comes to the daemon; who may only ask gets nothing of what is quoted of the
// configuration, nor of its commands.
func TestDoctor(t *testing.T) {
	in := NewInside(&fake{}, func(string) {})
	defer in.Close()
	for role := Reader; role <= Owner; role++ {
		a, err := in.Client(Caller{"anna", role}).Doctor(DoctorQuery{Jail: "sshd", Age: time.Hour, Now: true})
		if err != nil || a.At == nil || !a.Looking || a.Level != finding.Broken || len(a.Findings) != 1 || a.Findings[0].Jail != "sshd" || a.Findings[0].Level != finding.Broken {
			t.Fatalf("%s: %+v, %v", role, a, err)
		}
		text, _ := json.Marshal(a)
		if secrets := strings.Count(string(text), "hunter2"); (role == Owner) != (secrets == 3) || role < Owner && secrets > 0 {
			t.Errorf("%s: %s", role, text)
		}
		if !strings.Contains(string(text), "bailiff.toml:12") || !strings.Contains(string(text), "age 1h0m0s") {
			t.Errorf("%s: %s", role, text)
		}
	}
	owner := in.Client(Caller{"anna", Owner})
	if a, err := owner.Doctor(DoctorQuery{Age: time.Second}); err != nil || a.Looking || a.Findings[0].Seen[2] != "age "+DoctorAge.String() {
		t.Errorf("%+v, %v", a, err)
	}
	for _, query := range []string{"?age=yes", "?wait=2", "?what=x", "?jail=a&jail=b"} {
		err := owner.call("GET", "/v1/doctor"+query, nil, nil)
		if e, ok := err.(*AnswerError); !ok || e.Status != 400 {
			t.Errorf("%s: %v", query, err)
		}
	}
}
