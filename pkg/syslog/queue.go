package syslog

import "container/heap"

// queue holds messages that wait, of each sender apart. Beyond its bound, who has most in it
// loses what he sent last. It is emptied in turns.
type queue struct {
	most  int // bytes
	bytes int
	lines int
	of    map[key]*waiting
	most0 byBytes  // the heap: who has most is first
	turn  *waiting // whose turn it is, in a ring; nil: nothing waits
}

// waiting is what waits of one sender.
type waiting struct {
	sender     *sender
	items      []Item
	first      int // of items that is there
	bytes      int
	at         int // in the heap
	prev, next *waiting
	had        int // bytes that were taken in his turn
}

// cost is what a message counts.
func (i *Item) cost() int { return i.size + itemCost }

// bytesOf is how much of a sender waits.
func (q *queue) bytesOf(k key) int {
	if w := q.of[k]; w != nil {
		return w.bytes
	}
	return 0
}

// push puts a message in, and returns whose message was dropped for it; nil: nobody's.
func (q *queue) push(it Item) (dropped []*sender) {
	if q.of == nil {
		q.of = map[key]*waiting{}
	}
	w := q.of[it.from.key]
	if w == nil {
		w = &waiting{sender: it.from}
		q.of[it.from.key] = w
		heap.Push(&q.most0, w)
		if q.turn == nil {
			w.prev, w.next = w, w
			q.turn = w
		} else { // behind all others
			w.prev, w.next = q.turn.prev, q.turn
			w.prev.next, w.next.prev = w, w
		}
	}
	w.items = append(w.items, it)
	q.account(w, it.cost(), 1)
	for q.bytes > q.most && q.lines > 0 {
		worst := q.most0[0]
		last := len(worst.items) - 1
		cost := worst.items[last].cost()
		dropped = append(dropped, worst.items[last].from)
		worst.items[last] = Item{}
		worst.items = worst.items[:last]
		q.account(worst, -cost, -1)
		q.over(worst)
	}
	return dropped
}

// account notes that something came or went.
func (q *queue) account(w *waiting, bytes, lines int) {
	w.bytes += bytes
	q.bytes += bytes
	q.lines += lines
	heap.Fix(&q.most0, w.at)
}

// over forgets a sender of whom nothing waits any more.
func (q *queue) over(w *waiting) bool {
	if w.first < len(w.items) {
		return false
	}
	heap.Remove(&q.most0, w.at)
	delete(q.of, w.sender.key)
	if w.next == w {
		q.turn = nil
		return true
	}
	w.prev.next, w.next.prev = w.next, w.prev
	if q.turn == w {
		q.turn = w.next
	}
	return true
}

// pop takes messages out, up to so many lines and bytes of text; apart: of one sender.
func (q *queue) pop(lines, bytes int, apart bool) (out []Item) {
	for q.turn != nil && lines > 0 && bytes > 0 {
		w := q.turn
		if apart && len(out) > 0 && w.items[w.first].From != out[0].From {
			break
		}
		it := w.items[w.first]
		w.items[w.first] = Item{}
		w.first++
		out = append(out, it)
		lines--
		bytes -= it.size
		w.had += it.size
		q.account(w, -it.cost(), -1)
		if q.over(w) {
			continue
		}
		if w.first >= 64 && w.first > len(w.items)/2 {
			w.items = append(w.items[:0:0], w.items[w.first:]...)
			w.first = 0
		}
		if w.had >= quantum {
			w.had = 0
			q.turn = w.next
		}
	}
	return out
}

// byBytes is a heap.
type byBytes []*waiting

func (h byBytes) Len() int           { return len(h) }
func (h byBytes) Less(i, j int) bool { return h[i].bytes > h[j].bytes }
func (h byBytes) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}

// Push implements heap.Interface.
func (h *byBytes) Push(x any) {
	w := x.(*waiting)
	w.at = len(*h)
	*h = append(*h, w)
}

// Pop implements heap.Interface.
func (h *byBytes) Pop() any {
	last := len(*h) - 1
	w := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return w
}
