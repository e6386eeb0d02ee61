package pyregexp

import "testing"

func TestAround(t *testing.T) {
	for pattern, want := range map[string]Surroundings{
		`^user .* from (?P<ip>\S+)$`:                        {Start: true, End: true, Before: true},
		`user (?P<ip>\S+)`:                                  {},
		`^(?P<ip>\S+) .*$`:                                  {Start: true, End: true, After: true},
		`^"[^"]*" (?:x|(?P<ip>\S+)) y(?: .+)?$`:             {Start: true, End: true, After: true},
		`^(?:(?! from ).)* from (?P<ip>\S+)\s*$`:            {Start: true, End: true},
		`^(?:(?P<ip>a)|.*(?P<six>b))$`:                      {Start: true, End: true, Before: true},
		`^(?P<u>.+?) from (?P<ip>\S+)(?: to '.*')?$`:        {Start: true, End: true, Before: true, After: true},
		`^from (?P<ip>\S+)(?: x$| y$)`:                      {Start: true, End: true},
		`^from (?P<ip>\S+)(?: x$| y)`:                       {Start: true},
		`^(?=.*z)from (?P<ip>\S+)$`:                         {Start: true, End: true},
		`(?m)^from (?P<ip>\S+)\Z`:                           {End: true},
		`^x(?:: [^\n]*)? from (?:(?P<ip>1)|\[(?P<six>2)\])`: {Start: true, Before: true},
	} {
		got, ok := MustCompile(pattern, 0).Around("ip", "six")
		if !ok || got != want {
			t.Errorf("%s: %+v %v, want %+v", pattern, got, ok, want)
		}
	}
	if _, ok := MustCompile(`^a$`, 0).Around("ip"); ok {
		t.Error("a group that is not there has surroundings")
	}
}
