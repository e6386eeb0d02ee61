package tags

import (
	"fmt"
	"testing"
)

func ExampleExtract() {
	name, options, err := Extract(`sshd[mode="aggressive", port=22][logpath='/a, b']`)
	fmt.Println(name, options.Names, options.Values["logpath"], err)
	_, _, err = Extract(`sshd[mode="a" port=22]`)
	fmt.Println(err)
	// Output:
	// sshd [mode port logpath] /a, b <nil>
	// "sshd[mode=\"a\" port=22]": want a comma after option mode, not " port=22"
}

func ExampleSubstitute() {
	_, options, _ := Extract(`action[set=addr-<name>, set?family=inet6=addr6-<name>, name=sshd, ban="add <set> <ip>"]`)
	for _, family := range []string{"", "family=inet6"} {
		out, err := Substitute(options, family, nil, nil)
		fmt.Println(out.Values["ban"], err)
	}
	// Output:
	// add addr-sshd <ip> <nil>
	// add addr6-sshd <ip> <nil>
}

func FuzzSubstitute(f *testing.F) {
	f.Add("<b> <c>", "<c>x", "1")
	f.Add("<a>", "<b>", "<a>")
	f.Add("<x_<b>>", "<c><c><c>", "<b")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		o := &Options{}
		o.Set("a", a)
		o.Set("b", b)
		o.Set("c", c)
		_, _ = Substitute(o, "", nil, func(name string) (string, bool) { return "", name == "d" })
	})
}

func FuzzExtract(f *testing.F) {
	f.Add(`sshd[mode=aggressive, a="b,c"][d='e']`)
	f.Add("a[\nb=c,\n d=\"e\nf\"]\n g")
	f.Fuzz(func(t *testing.T, text string) {
		name, o, err := Extract(text)
		if err == nil && (name == "" || o == nil) {
			t.Fatalf("%q: neither a name nor an error", text)
		}
	})
}
