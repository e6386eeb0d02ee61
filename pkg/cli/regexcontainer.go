package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"bailiff/pkg/config"
	"bailiff/pkg/engine"
	"bailiff/pkg/filter"
	"bailiff/pkg/source"
	"bailiff/pkg/transport"
)

// containerInput is what containers have written, asked of their engine.
type containerInput struct {
	client *engine.Client
	list   []engine.Container
	around transport.Options
}

// namesContainer reports whether an argument is docker:CONTAINER, and no line of a log that begins so.
func namesContainer(arg string) bool {
	name, ok := strings.CutPrefix(arg, source.ContainerLog)
	return ok && name != "" && !strings.ContainsAny(name, " \t\r\n")
}

// openContainer finds the containers of docker:NAME, docker:NAME/ID as status has it, docker:label=KEY=VALUE and
// the like, at the engine of the configuration.
func (o *regexOptions) openContainer(arg string, def *filter.Definition) (*logInput, error) {
	cfg, err := config.Load(config.Options{Path: o.config})
	if err != nil {
		return nil, err
	}
	text := strings.TrimPrefix(arg, source.ContainerLog)
	id := ""
	if !strings.Contains(text, "=") {
		text, id, _ = strings.Cut(text, "/")
	}
	match, err := source.ParseContainerMatch(text)
	if err != nil {
		return nil, &exitError{exitUsage, err.Error()}
	}
	enc, err := source.LookupEncoding(o.encoding)
	if err != nil {
		return nil, err
	}
	c := &containerInput{client: engine.New(cfg.Docker.Socket), around: def.Around()}
	all, err := c.client.Containers(context.Background())
	if err != nil {
		return nil, err
	}
	var names []string
	for i := range all {
		if names = append(names, all[i].Name); match.Means(&all[i]) && strings.HasPrefix(all[i].ID, id) {
			c.list = append(c.list, all[i])
		}
	}
	if len(c.list) == 0 {
		return nil, fmt.Errorf("%s: engine %s has no such container (%d: %s)", arg, cfg.Docker.Socket, len(names), strings.Join(names[:min(len(names), 20)], ", "))
	}
	for i := range c.list {
		o.printf("Use        container : %s\n", c.list[i].Short())
	}
	o.printf("Use         encoding : %s\n\n", enc.Name)
	return &logInput{enc: enc, containers: c, progress: o.progress, damaged: o.tellDamaged(arg, enc)}, nil
}

// records calls each for each line that the containers have written, one container after the other.
func (l *logInput) records(each func(line []byte) error) error {
	read := int64(0)
	for i := range l.containers.list {
		if err := l.recordsOf(&l.containers.list[i], &read, each); err != nil {
			return err
		}
	}
	return nil
}

func (l *logInput) recordsOf(of *engine.Container, read *int64, each func(line []byte) error) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c := l.containers.client
	state, err := c.Inspect(ctx, of.ID)
	if err != nil {
		return err
	}
	records, err := c.Logs(ctx, of.ID, engine.LogOptions{Terminal: state.Terminal})
	if err != nil {
		return err
	}
	defer records.Close()
	around := transport.NewRecords(l.containers.around)
	line := func(text []byte, frame transport.Frame) error {
		l.turn++
		l.frame, l.framed = frame, true
		defer func() { l.frame, l.framed = transport.Frame{}, false }()
		return each(bytes.TrimRight(text, "\r"))
	}
	for {
		r, err := records.Next()
		if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("container %s: %w", of.Short(), err)
		}
		*read += int64(len(r.Text)) + 1
		l.progress.at(*read, 0)
		text, frame, ok := around.Take(transport.Record{Text: l.enc.Decode(r.Text), Stamp: r.Stamp, Stderr: r.Stderr, Part: r.Part})
		if !ok {
			continue // its rest is to come
		}
		if err := line(text, frame); err != nil {
			return err
		}
	}
	lines, frames := around.Rest()
	for i := range lines {
		if err := line(lines[i], frames[i]); err != nil {
			return err
		}
	}
	return nil
}
