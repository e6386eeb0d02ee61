package enrol

import "testing"

func TestCheckServer(t *testing.T) {
	for version, ok := range map[string]bool{
		"2.15.2": true, "2.15.10": true, "2.16.0": true, "3.0.0": true, "2.15.3-beta.1": true,
		"2.15.1": false, "2.10.29": false, "2.9.0": false, "1.4.1": false, "": false, "x.y.z": false, "2.15": false,
	} {
		if err := CheckServer(version); (err == nil) != ok {
			t.Errorf("%q: %v", version, err)
		}
	}
}
