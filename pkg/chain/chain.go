// Package chain is a doubly linked list whose links are in its elements: one allocation an
// element, and an element that is at hand is taken out, or moved to the end, without a
// search. It keeps what has an order of its own beside a map: who was asked for first, who was
// heard of last. container/list holds each element in another one beside it, which bounded
// memory of a hundred thousand entries would pay for.
//
//	type entry struct {
//		chain.Links[entry]
//		key string
//	}
//	var order chain.List[entry, *entry]
//	order.Append(&entry{key: "a"})
//	order.Remove(order.First())
//
// An element is in one list at a time. Nothing here is locked.
package chain

import "iter"

// Links are those beside an element. Who is to be in a List embeds them. A copy of an
// element is in no list, whatever its links say: set them to their zero value.
type Links[T any] struct{ prev, next *T }

func (l *Links[T]) links() *Links[T] { return l }

// Element is a pointer to what embeds Links.
type Element[T any] interface {
	*T
	links() *Links[T]
}

// List is a list of such elements. The zero value is an empty one.
type List[T any, P Element[T]] struct{ first, last P }

// First returns the first element, nil if there is none.
func (l *List[T, P]) First() P { return l.first }

// Last returns the last element, nil if there is none.
func (l *List[T, P]) Last() P { return l.last }

// Append puts an element that is in no list at the end.
func (l *List[T, P]) Append(e P) {
	*e.links() = Links[T]{prev: l.last}
	if l.last != nil {
		l.last.links().next = e
	} else {
		l.first = e
	}
	l.last = e
}

// Remove takes out an element of this list.
func (l *List[T, P]) Remove(e P) {
	at := e.links()
	if at.prev != nil {
		P(at.prev).links().next = at.next
	} else {
		l.first = at.next
	}
	if at.next != nil {
		P(at.next).links().prev = at.prev
	} else {
		l.last = at.prev
	}
	*at = Links[T]{}
}

// All goes through the list from its first element on. The one that it is at may be removed.
func (l *List[T, P]) All() iter.Seq[P] {
	return func(yield func(P) bool) {
		for e := l.first; e != nil; {
			next := P(e.links().next)
			if !yield(e) {
				return
			}
			e = next
		}
	}
}
