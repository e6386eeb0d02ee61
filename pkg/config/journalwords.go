package config

// JournalWords are journalmatch's words for lists of matches, as journalctl takes them.
func JournalWords(matches [][]string) (out []string) {
	for i, m := range matches {
		if i > 0 {
			out = append(out, "+")
		}
		out = append(out, m...)
	}
	return out
}

// JournalMatch is which entries of the journal the filter names as its service's; nil: none,
// or what it names can't be read.
func (f *Filter) JournalMatch() [][]string {
	m, err := journalMatches(f.raw.Journal)
	if err != nil {
		return nil
	}
	return m
}
