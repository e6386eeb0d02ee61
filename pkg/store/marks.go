package store

import (
	"database/sql"
	"encoding/binary"
	"strconv"
	"strings"
	"time"

	"bailiff/pkg/ban"
)

// A jail that counts by more than times (count.distinct, success.forgives) keeps more of failures
// than these. It stands beside them, in a table and in items of the changes file that are there for
// such jails alone: who has none writes what he always wrote, and earlier versions read it.

// Marked is what is known of an address beside the times of its failures.
type Marked struct {
	// Of are the marks of its failures, as many as there are times; for others than these they are
	// of no use.
	Of []ban.Mark
	// Forgiven is when its failures were taken back lately, ascending.
	Forgiven []time.Time
}

func (m *Marked) empty() bool { return len(m.Of) == 0 && len(m.Forgiven) == 0 }

// text is how a row tells the marks: two numbers each.
func (m *Marked) text() string {
	var b []byte
	for _, x := range m.Of {
		b = strconv.AppendUint(append(b, ' '), x.Value, 36)
		b = strconv.AppendUint(append(b, ' '), x.User, 36)
	}
	return strings.TrimPrefix(string(b), " ")
}

func (m *Marked) forgivenText(offset time.Duration) string {
	var b []byte
	for _, t := range m.Forgiven {
		b = strconv.AppendInt(append(b, ' '), t.UnixMicro()*1000+int64(offset), 10)
	}
	return strings.TrimPrefix(string(b), " ")
}

// mark notes what more is known of an address.
func (st *State) mark(id ban.ID, m Marked) {
	if st.Marked == nil {
		st.Marked = map[ban.ID]Marked{}
	}
	if m.empty() {
		delete(st.Marked, id)
		return
	}
	st.Marked[id] = m
}

// marks reads the rows of a jail. One that can't be read is passed over: failures of which no more
// is known count as ever.
func (st *State) marks(db *sql.Tx, jail string, offset time.Duration) error {
	rows, err := db.Query("SELECT ip, marks, forgiven FROM bailiff_marks WHERE jail = ?", jail)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var ip, marks, forgiven string
		if err := rows.Scan(&ip, &marks, &forgiven); err != nil {
			st.passOver("marks", "%v", err)
			continue
		}
		var m Marked
		numbers := strings.Fields(marks)
		for i := 0; i+1 < len(numbers); i += 2 {
			value, err1 := strconv.ParseUint(numbers[i], 36, 64)
			user, err2 := strconv.ParseUint(numbers[i+1], 36, 64)
			if err1 != nil || err2 != nil {
				m.Of = nil
				break
			}
			m.Of = append(m.Of, ban.Mark{Value: value, User: user})
		}
		for _, t := range strings.Fields(forgiven) {
			if n, err := strconv.ParseInt(t, 10, 64); err == nil {
				m.Forgiven = append(m.Forgiven, time.Unix(0, n).Add(-offset))
			}
		}
		if id := idOf(ip); id.IsValid() {
			st.mark(id, m)
		}
	}
	return rows.Err()
}

// marked appends an item.
func (r *recorder) marked(b []byte, id ban.ID, m Marked) []byte {
	r.turn.step()
	b = appendID(append(b, itemMarked), id)
	b = binary.AppendUvarint(b, uint64(len(m.Of)))
	for _, x := range m.Of {
		b = binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(b, x.Value), x.User)
	}
	b = binary.AppendUvarint(b, uint64(len(m.Forgiven)))
	for _, t := range m.Forgiven {
		b = binary.AppendVarint(b, t.UnixMicro()-r.base)
	}
	return b
}

// markedRest reads what stands behind the address; each, if not nil, is told of a forgiven time.
func (c *cursor) markedRest(each func(int64)) (marks []byte) {
	n := c.uvarint()
	if n > uint64(len(c.data)) { // so that 16 times it is a number
		c.bad = true
		return nil
	}
	marks = c.bytes(16 * n)
	for n := c.uvarint(); n > 0 && !c.bad; n-- {
		if t := c.varint(); each != nil {
			each(t)
		}
	}
	return marks
}

// markedAt reads an item.
func (r *recorded) markedAt(entry uint32) (id ban.ID, m Marked) {
	c := &cursor{data: r.data, at: int(entry)}
	id = c.id()
	marks := c.markedRest(func(t int64) { m.Forgiven = append(m.Forgiven, time.UnixMicro(r.base+t)) })
	for ; len(marks) >= 16; marks = marks[16:] {
		m.Of = append(m.Of, ban.Mark{Value: binary.LittleEndian.Uint64(marks), User: binary.LittleEndian.Uint64(marks[8:])})
	}
	return id, m
}
