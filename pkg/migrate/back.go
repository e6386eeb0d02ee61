package migrate

import (
	"context"
	"time"
)

// back puts everything back as it was.
func (m *Migration) back(ctx context.Context) error {
	defer m.shield.leave()
	m.say("putting everything back: %s starts again (%s)", m.From.name(), m.From.startedBy())
	if s, err := find(m.To.Socket); err == nil && s.Ours == m.To.Ours {
		if m.To.Unit != "" {
			s.Unit = m.To.Unit
		}
		if err := s.stop(ctx); err != nil {
			return err
		}
	}
	if m.To.Ours {
		// Where it never ran, it has left nothing.
		if err := m.clear(); err != nil && m.entered {
			return err
		}
	}
	if m.From.lives() && answers(m.From.Socket) { // it was told to stop, and did not
		return m.resume()
	}
	if m.From.lives() {
		if err := m.From.stop(ctx); err != nil {
			return err
		}
	}
	began := time.Now()
	if err := m.From.start(ctx); err != nil {
		return err
	}
	m.From.took = time.Since(began)
	if err := m.complete(ctx, m.From); err != nil {
		return err
	}
	if err := m.shield.lower(); err != nil {
		return err
	}
	m.say("%s has its %d bans again; table inet %s is gone", m.From.name(), m.all.count(), Table)
	return nil
}
