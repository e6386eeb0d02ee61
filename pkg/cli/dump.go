package cli

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"bailiff/pkg/config"
	"bailiff/pkg/config/fail2ban"
	"bailiff/pkg/control"
	"bailiff/pkg/tags"
)

// dump prints the configuration as the commands that make it, as fail2ban-client -d
// and --dp do.
func (o *clientOptions) dump(pretty bool) int {
	tree, err := fail2ban.ReadTree(o.dir)
	if err != nil {
		o.complain("%v", err)
		return exitFail2ban
	}
	if o.verbose > 1 {
		for _, c := range []*fail2ban.Config{tree.Server, tree.Jail} {
			if c != nil {
				o.say("INFO", "Loading files: "+control.Repr(control.List(anys(c.Files))))
			}
		}
	}
	for _, err := range tree.Errors {
		o.complain("%v", err)
	}
	for _, c := range config.Fail2banCommands(tree, "") {
		cmd := wireCommand(c)
		if !pretty {
			fmt.Fprintln(o.out, control.Repr(control.List(cmd)))
			continue
		}
		fmt.Fprintln(o.out, prettyRepr(control.List(cmd), 0))
	}
	return 0
}

func anys(list []string) (out []any) {
	for _, s := range list {
		out = append(out, s)
	}
	return out
}

// wireCommand is a command with the types that go over the socket.
func wireCommand(c []any) []any {
	out := make([]any, len(c))
	for i, v := range c {
		switch v := v.(type) {
		case []any:
			out[i] = control.List(wireCommand(v))
		case *tags.Options: // parameters of an action in Python
			data, err := json.Marshal(v.Values)
			if err != nil {
				data = []byte("{}")
			}
			out[i] = string(data)
		case map[string]int:
			dict := control.Dict{Values: map[string]any{}}
			for _, name := range slices.Sorted(maps.Keys(v)) {
				dict.Keys, dict.Values[name] = append(dict.Keys, name), v[name]
			}
			out[i] = dict
		default:
			out[i] = v
		}
	}
	return out
}

// prettyWidth is how long a line of the readable form may be.
const prettyWidth = 1000

// prettyRepr writes a value as Python does, over several lines where it is long.
func prettyRepr(v any, indent int) string {
	flat := control.Repr(v)
	list, ok := v.(control.List)
	if !ok || len(flat)+indent <= prettyWidth || len(list) == 0 {
		return flat
	}
	pad := fmt.Sprintf("%*s", indent+2, "")
	text := "[ "
	for i, item := range list {
		if i > 0 {
			text += ",\n" + pad
		}
		text += prettyRepr(item, indent+2)
	}
	return text + "]"
}
