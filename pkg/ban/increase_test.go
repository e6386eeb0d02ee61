package ban

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/hosttest"
)

// TestFormulaAgainstPython computes the same expressions with Python.
func TestFormulaAgainstPython(t *testing.T) {
	expressions := []string{
		"ban.Time * (1<<(ban.Count if ban.Count<20 else 20)) * banFactor",
		"ban.Time * math.exp(float(ban.Count+1)*banFactor)/math.exp(1*banFactor)",
		"600 if ban.Count < 3 else 3600 if ban.Count < 6 else 86400",
		"-2 ** 2 + 2 ** -1 + 2 ** 3 ** 2", "7 // 2 - 7 % 3 + -7 // 2 - -7 % 3", "7.5 % 2 / 4", "1 + 2 * 3 - 4 / 5",
		"(5 & 3) | (8 ^ 2) + ~1", "1 << 3 >> 1", "not ban.Count == 3 and 5 or 7", "1 < ban.Count <= 5 < 3", "1 < 2 < 3",
		"min(ban.Count, 3, 9) + max(1, ban.Count) + abs(-4) + round(2.5) + round(3.5) + int(-2.9)", "round(2.345, 1)",
		"pow(2, ban.Count) + math.pow(2, 3) + math.sqrt(16) + math.log(8, 2) + math.log10(1000) + math.ceil(1.2) + math.floor(-1.2)",
		"math.pi * math.e", "1e3 + 1.5E-2 + .5 + 1_000", "((((1))))", "ban.Time*ban.Count", "not 0", "- - 3", "2*-3", "0 or 5", "3 and 0",
		"math.tanh(ban.Count/5.0)*ban.Time", "ban.Count == 1 or ban.Count != 2",
	}
	program := `
import math, json, sys
class ban: pass
out = []
for e in json.load(sys.stdin):
    row = []
    for count in (1, 2, 3, 5, 7, 25):
        ban.Time, ban.Count, banFactor = 600, count, 2
        row.append(float(eval(e)))
    out.append(row)
print(json.dumps(out))`
	in, err := json.Marshal(expressions)
	if err != nil {
		t.Fatal(err)
	}
	raw := hosttest.Python(t, nil, string(in), "-c", program)
	var want [][]float64
	if err := json.Unmarshal(raw, &want); err != nil {
		t.Fatal(err)
	}
	for i, e := range expressions {
		f, err := ParseFormula(e)
		if err != nil {
			t.Error(err)
			continue
		}
		for k, count := range []float64{1, 2, 3, 5, 7, 25} {
			got, err := f.value(&formulaArgs{time: 600, count: count, factor: 2})
			if err != nil || fmt.Sprintf("%.10g", got) != fmt.Sprintf("%.10g", want[i][k]) {
				t.Errorf("%s with count %g: %v %v, Python %v", e, count, got, err, want[i][k])
			}
		}
	}
}

func TestFormulaMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"":                            "ends too early",
		"ban.Time *":                  "ends too early",
		"ban.time * 2":                `character 1: unknown "ban.time"`,
		"1 2":                         `character 3: unexpected "2"`,
		"(1":                          "want )",
		"1 if 2":                      "want else",
		"__import__('os')":            "unknown",
		"ban.Time.__class__":          "unknown",
		"1 / 0":                       "division by zero",
		"1 << -1":                     "shift by -1",
		"1.5 << 2":                    "is no integer",
		"math.sqrt(-1)":               "is not a number",
		"max(1)":                      "takes 2 to 20 values, not 1",
		"1 +* 2":                      `unknown "*"`,
		"x = 3":                       "unknown",
		"1.2.3":                       "is no number",
		"é":                           "unknown",
		strings.Repeat("(", 1000):     "too deeply nested",
		strings.Repeat("-", 1000):     "too deeply nested",
		strings.Repeat("not ", 1000):  "too deeply nested",
		strings.Repeat("2**", 999):    "too deeply nested",
		strings.Repeat("abs(", 10000): "too deeply nested",
	} {
		if _, err := ParseFormula(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", text, err, want)
		}
	}
}

func FuzzFormula(f *testing.F) {
	f.Add("ban.Time * (1<<(ban.Count if ban.Count<20 else 20)) * banFactor")
	f.Add("math.exp(1e3) ** -2 // 3 % .5 and not 1 < 2")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParseFormula(text)
		if err != nil {
			return
		}
		g := &Growth{formula: p}
		if d, err := g.BanTime(time.Minute, 3, 0.5); err == nil && d < time.Minute {
			t.Errorf("%q gives %v", text, d)
		}
	})
}

func TestIncrease(t *testing.T) {
	for _, c := range []struct {
		name  string
		i     Increase
		count int
		want  time.Duration
	}{
		{"the first ban", Increase{}, 0, 10 * time.Minute},
		{"doubling", Increase{}, 1, 20 * time.Minute},
		{"doubling", Increase{}, 3, 80 * time.Minute},
		{"doubling ends at 20", Increase{}, 100, 10 * time.Minute << 20},
		{"factor", Increase{Factor: "2 * 2"}, 1, 80 * time.Minute},
		{"maxtime", Increase{MaxTime: time.Hour}, 9, time.Hour},
		{"rndtime comes on top of maxtime", Increase{MaxTime: time.Hour, Random: time.Hour}, 9, 90 * time.Minute},
		{"multipliers", Increase{Multipliers: []int64{1, 5, 30}}, 1, 50 * time.Minute},
		{"the last multiplier stays", Increase{Multipliers: []int64{1, 5, 30}}, 7, 300 * time.Minute},
		{"never shorter", Increase{Formula: "1"}, 5, 10 * time.Minute},
		{"maxtime under bantime", Increase{MaxTime: time.Second}, 5, 10 * time.Minute},
		{"as good as for ever", Increase{Formula: "1e300 * ban.Time"}, 1, longest},
	} {
		g, err := c.i.Compile()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := g.BanTime(10*time.Minute, c.count, 0.5); got != c.want || err != nil {
			t.Errorf("%s after %d: %v %v, want %v", c.name, c.count, got, err, c.want)
		}
	}
	for count, want := range []int{1, 2, 3, 5, 9, 10, 10} {
		if got := Retries(count, 10); got != want {
			t.Errorf("a failure after %d bans counts %d times, want %d", count, got, want)
		}
	}
}
