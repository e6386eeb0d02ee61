package ban

// Ring is the order of things that lie in one piece and are told by their place in it, from 1 on: who
// was in use last is its end. It lies apart from them, for whoever moves in it changes two neighbours
// and the end, which are all over the memory: as eight bytes each, most are in the processor's cache.
type Ring struct {
	links []link // the first is nobody's: from it the ring begins and ends
	free  int32  // those that are free are chained by next, from here on; 0: none is
}

type link struct{ prev, next int32 }

// Clear empties it and gives its memory back.
func (r *Ring) Clear() { r.links, r.free = make([]link, 1), 0 }

// Take puts a place at the end that is free, or the one behind all.
func (r *Ring) Take() (n int32) {
	if n = r.free; n != 0 {
		r.free = r.links[n].next
	} else {
		n = int32(len(r.links))
		r.links = append(r.links, link{})
	}
	r.toEnd(n)
	return n
}

// Renew moves a place to the end.
func (r *Ring) Renew(n int32) {
	r.takeOut(n)
	r.toEnd(n)
}

// Drop makes a place free.
func (r *Ring) Drop(n int32) {
	r.takeOut(n)
	r.links[n] = link{next: r.free}
	r.free = n
}

func (r *Ring) toEnd(n int32) {
	last := r.links[0].prev
	r.links[n] = link{prev: last}
	r.links[last].next = n
	r.links[0].prev = n
}

func (r *Ring) takeOut(n int32) {
	l := r.links[n]
	r.links[l.prev].next, r.links[l.next].prev = l.next, l.prev
}

// First is the place that was at the end before all others; 0: there is none.
func (r *Ring) First() int32 { return r.links[0].next }

// Next is the one behind a place; 0: that is the end.
func (r *Ring) Next(n int32) int32 { return r.links[n].next }
