package config

import (
	"errors"
	"strings"

	"bailiff/pkg/engine"
	"bailiff/pkg/source"
)

// What is read from a container engine: [docker], and jails with backend = "docker".

// isDocker reports whether a backend is the output of containers.
func isDocker(backend string) bool {
	return strings.EqualFold(strings.TrimSpace(backend), "docker")
}

// docker reads [docker].
func (l *loader) docker(raw rawDocker, fail func(string, ...any) func(...string)) {
	l.labelOptions(raw, fail)
	if raw.Socket == "" {
		return
	}
	path, err := engine.ParseSocket(raw.Socket)
	if err != nil {
		fail("[docker] %v", err)("docker", "socket")
		return
	}
	l.cfg.Docker.Socket = path
}

// containers reads which containers a jail reads.
func (l *loader) containers(r *resolver, j *Jail) {
	list := pick(r, keyContainer)
	o := &source.ContainerOptions{Socket: l.cfg.Docker.Socket}
	for _, text := range list.v {
		m, err := source.ParseContainerMatch(strings.TrimSpace(text))
		if err != nil {
			r.fail(list.at, "container", err)
			continue
		}
		o.Matches = append(o.Matches, m)
	}
	if len(list.v) == 0 {
		r.fail(list.at, "container", errors.New("backend = \"docker\" needs container, which says whose output is read: a name, label=KEY=VALUE or image=IMAGE"))
	}
	j.Containers = o
}
