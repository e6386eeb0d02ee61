package store

// The jails of a start are made known to the database all at once.

// Announce makes jails known, which are to be loaded, all in one transaction.
func (s *Store) Announce(jails []string) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	known := map[string]bool{}
	rows, err := s.db.Query("SELECT name, coalesce(enabled = 1, 0) FROM jails")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		var enabled bool
		if err := rows.Scan(&name, &enabled); err != nil {
			return err
		}
		known[name] = enabled
	}
	if err := rows.Err(); err != nil {
		return err
	}
	var missing, fresh []string
	for _, name := range jails {
		enabled, ok := known[name]
		if !ok {
			fresh = append(fresh, name)
		}
		if !enabled {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	err = s.transact(func(w *writer) error {
		for _, name := range missing {
			if err := w.exec("INSERT INTO jails(name, enabled) VALUES(?, 1) ON CONFLICT(name) DO UPDATE SET enabled = 1", name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.noting.Lock()
	defer s.noting.Unlock()
	for _, name := range fresh {
		if s.fresh == nil {
			s.fresh = map[string]bool{}
		}
		s.fresh[name] = true
	}
	return nil
}

// Announced reports whether there are jails that were made known by Announce and not loaded.
func (s *Store) Announced() bool {
	s.noting.Lock()
	defer s.noting.Unlock()
	return len(s.fresh) > 0
}

// Withdraw has jails that were made known and not loaded be unknown again.
func (s *Store) Withdraw() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.noting.Lock()
	fresh := s.fresh
	s.fresh = nil
	s.noting.Unlock()
	return s.transact(func(w *writer) error {
		for name := range fresh {
			if err := w.exec("DELETE FROM jails WHERE name = ?", name); err != nil {
				return err
			}
		}
		return nil
	})
}
