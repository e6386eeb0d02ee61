package top

import (
	"context"
	"errors"
	"io"

	tea "charm.land/bubbletea/v2"

	"bailiff/pkg/source"
)

type fileStatus = source.Status

// Run shows a daemon at a terminal until somebody quits, or ctx ends.
func Run(ctx context.Context, d Daemon, in io.Reader, out io.Writer, o Options) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m := New(ctx, d, nil, o)
	m.feed = NewFeed(d, m.opts.Now().Add(-lookBack))
	m.feed.Last = eventsMost
	go m.feed.Run(ctx)
	_, err := tea.NewProgram(m, tea.WithContext(ctx), tea.WithInput(in), tea.WithOutput(out)).Run()
	if errors.Is(err, tea.ErrInterrupted) || errors.Is(err, tea.ErrProgramKilled) && ctx.Err() != nil {
		return nil
	}
	return err
}
