// Package fleet is a host's side of bans that many hosts share: what is said of a ban and
// in which words, which bans are in force, and what a host asks of its hub for that.
//
// Each host says, under keys of its own, whom it has banned and whose ban it has lifted; the
// hub stores the newest word of each key in one stream, in an order that all see. Which bans
// are in force follows from what the stream holds, by a rule that every host applies for
// itself ([Rule]); so nobody has to agree with anybody, and in which order words
// arrive makes no difference.
//
//	key, err := fleet.ParseKey("web-1.b.ssh.4c6336407") // who: web-1, a ban, of the group ssh
//	key.Prefix()                                        // 198.51.100.7/32
//	e := fleet.Entry{Jail: "sshd", Left: 3600, N: 1}
//	data, err := e.Encode(key.Kind)
//
// Nothing here speaks to a network: pkg/fleet/link does, by NATS. What is received was written by
// others: everything is read strictly, has one form only, and is bounded.
package fleet
