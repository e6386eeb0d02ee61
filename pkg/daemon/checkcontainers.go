package daemon

import (
	"context"
	"fmt"
	"slices"

	"bailiff/pkg/config"
	"bailiff/pkg/engine"
)

// checkContainers tells what of a jail's containers isn't there now: the engine, any container, or
// one that is named without a pattern.
func checkContainers(c *config.Jail) (out []error) {
	at := settingPlace(c, "container")
	ctx, cancel := context.WithTimeout(context.Background(), checkPatience-checkPatience/5)
	defer cancel()
	list, err := engine.New(c.Containers.Socket).Containers(ctx)
	if err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("engine %s hasn't answered for %v", c.Containers.Socket, checkPatience-checkPatience/5)
		}
		return []error{fmt.Errorf("%s: %w; the jail waits for it", at, err)}
	}
	for _, m := range c.Containers.Matches {
		if !slices.ContainsFunc(list, func(one engine.Container) bool { return m.Means(&one) }) {
			out = append(out, fmt.Errorf("%s: container %q: there is none now; the jail waits for one", at, m))
		}
	}
	return out
}

// checkLabels tells what labels of the containers that are there don't get.
func checkLabels(cfg *config.Config) (out []error) {
	ctx, cancel := context.WithTimeout(context.Background(), checkPatience-checkPatience/5)
	defer cancel()
	list, err := engine.New(cfg.Docker.Socket).Containers(ctx)
	if err != nil {
		return []error{fmt.Errorf("[docker] labels: %w; they are not seen until it answers", err)}
	}
	for i := range list {
		c := &list[i]
		if !config.IsLabelled(c) || !isUp(c) {
			continue
		}
		j, told := cfg.LabelJail(c)
		for _, text := range told {
			out = append(out, fmt.Errorf("[docker] labels: container %s: %s", c.Short(), text))
		}
		if j != nil && j.Broken() != nil {
			out = append(out, fmt.Errorf("[docker] labels: container %s: jail %s can't start: %w", c.Short(), j.Name, j.Broken()))
		}
		if len(out) >= 30 {
			return append(out, fmt.Errorf("[docker] labels: and more; these are the first"))
		}
	}
	return out
}

// settingPlace says where an option of a jail is configured: FILE:LINE: jail NAME.
func settingPlace(c *config.Jail, name string) string {
	at := "jail " + c.Name
	for _, s := range c.Settings {
		if s.Name == name && s.File != "" {
			if s.Line > 0 {
				return fmt.Sprintf("%s:%d: %s", s.File, s.Line, at)
			}
			return s.File + ": " + at
		}
	}
	return at
}
