package source

import (
	"fmt"
	"strings"

	"bailiff/pkg/engine"
)

// Which containers are meant.

// ContainerOptions say which containers' logs are read, of which engine.
type ContainerOptions struct {
	Socket  string // path of the engine's socket
	Matches []ContainerMatch
}

// ContainerMatch is one of the ways to name containers: any is enough.
type ContainerMatch struct {
	Kind  string // name, id, label, image
	Key   string // of a label
	Value string // with * and ?, but of an ID; of a label with Any, nothing
	Any   bool   // whatever the label's value is
}

// ParseContainerMatch reads NAME, name=NAME, id=ID, label=KEY, label=KEY=VALUE or image=IMAGE.
func ParseContainerMatch(text string) (ContainerMatch, error) {
	kind, value, ok := strings.Cut(text, "=")
	if !ok {
		kind, value = "name", text
	}
	m := ContainerMatch{Kind: kind, Value: value}
	switch kind {
	case "name":
		m.Value = strings.TrimPrefix(value, "/")
	case "image":
	case "id":
		if len(value) < 12 || len(value) > 64 || strings.Trim(value, "0123456789abcdef") != "" {
			return m, fmt.Errorf("container %q: want 12 to 64 digits of an ID", text)
		}
	case "label":
		m.Key, m.Value, ok = strings.Cut(value, "=")
		m.Any = !ok
		if m.Key == "" {
			return m, fmt.Errorf("container %q: want label=KEY or label=KEY=VALUE", text)
		}
		return m, nil
	default:
		return m, fmt.Errorf("container %q: want NAME, id=ID, label=KEY, label=KEY=VALUE or image=IMAGE", text)
	}
	if m.Value == "" {
		return m, fmt.Errorf("container %q: nothing is named", text)
	}
	return m, nil
}

// String writes it as it is configured.
func (m ContainerMatch) String() string {
	switch {
	case m.Kind == "name":
		return m.Value
	case m.Kind == "label" && m.Any:
		return "label=" + m.Key
	case m.Kind == "label":
		return "label=" + m.Key + "=" + m.Value
	}
	return m.Kind + "=" + m.Value
}

// Means reports whether it is one of those that are meant.
func (m ContainerMatch) Means(c *engine.Container) bool {
	switch m.Kind {
	case "name":
		return wildcard(m.Value, c.Name)
	case "id":
		return strings.HasPrefix(c.ID, m.Value)
	case "label":
		v, ok := c.Labels[m.Key]
		return ok && (m.Any || wildcard(m.Value, v))
	case "image":
		return isImage(m.Value, c.Image)
	}
	return false
}

// isImage compares images: the registries that engines add by themselves may be left out, and so
// may a tag or a sum.
func isImage(pattern, image string) bool {
	for _, from := range []string{"", "docker.io/library/", "docker.io/", "localhost/"} {
		name, ok := strings.CutPrefix(image, from)
		if !ok {
			continue
		}
		if wildcard(pattern, name) {
			return true
		}
		bare, _, _ := strings.Cut(name, "@")
		if colon := strings.LastIndexByte(bare, ':'); colon > strings.LastIndexByte(bare, '/') {
			bare = bare[:colon]
		}
		if bare != name && wildcard(pattern, bare) {
			return true
		}
	}
	return false
}

// wildcard compares a text with a pattern, in which * stands for anything and ? for a byte. It
// takes as many steps as both are long, multiplied.
func wildcard(pattern, text string) bool {
	p, t, star, from := 0, 0, -1, 0
	for t < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, from = p, t
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == text[t]):
			p++
			t++
		case star >= 0:
			from++
			p, t = star+1, from
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// ContainerLog begins the names of containers' logs among others: NAME and the first twelve
// digits of the ID follow.
const ContainerLog = "docker:"

// logOf is the name of a container's log.
func logOf(c *engine.Container) string { return ContainerLog + c.Short() }
