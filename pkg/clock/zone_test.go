package clock

import (
	"testing"
	"time"
)

func TestPOSIXZone(t *testing.T) {
	summer, winter := time.Date(2005, 8, 14, 10, 0, 0, 0, time.UTC), time.Date(2005, 1, 14, 10, 0, 0, 0, time.UTC)
	for _, c := range []struct{ zone, summer, winter string }{
		{"CET-1CEST,M3.5.0,M10.5.0/3", "12:00 CEST", "11:00 CET"},
		{"CET-01CEST-02,M3.5.0,M10.5.0", "12:00 CEST", "11:00 CET"},
		{"EST5EDT", "06:00 EDT", "05:00 EST"},
		{"<+0530>-5:30", "15:30 +0530", "15:30 +0530"},
		{"NZST-12NZDT,M9.5.0,M4.1.0/3", "22:00 NZST", "23:00 NZDT"},
		{"UTC0", "10:00 UTC", "10:00 UTC"},
		{"XYZ3XYS,J100/0,J200", "07:00 XYZ", "07:00 XYZ"},
	} {
		loc, err := POSIXZone(c.zone)
		if err != nil {
			t.Error(err)
			continue
		}
		if s, w := summer.In(loc).Format("15:04 MST"), winter.In(loc).Format("15:04 MST"); s != c.summer || w != c.winter {
			t.Errorf("%s: %s and %s, want %s and %s", c.zone, s, w, c.summer, c.winter)
		}
	}
	for _, wrong := range []string{"", "UTC", "Europe/Zurich", "CET-1CEST,M3.5", "CET-1CEST,M3.5.0,M10.5.0,M1.1.1", "C-1"} {
		if loc, err := POSIXZone(wrong); err == nil {
			t.Errorf("%q: %v", wrong, loc)
		}
	}
}
