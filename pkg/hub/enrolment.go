package hub

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"bailiff/pkg/eventlog"
	"bailiff/pkg/fleet/enrol"
)

// Who comes into the fleet by a token, and who leaves it: asked by hosts over the hub's server.

// bounded has a handler work beside the others, with a bound on how many do.
func (h *Hub) bounded(handle func(ctx context.Context, m *nats.Msg)) nats.MsgHandler {
	return func(m *nats.Msg) {
		select {
		case h.joins <- struct{}{}:
		default:
			return // who asks hears nothing, and asks again
		}
		go func() {
			defer func() { <-h.joins }()
			ctx, cancel := context.WithTimeout(context.Background(), lookMost)
			defer cancel()
			handle(ctx, m)
		}()
	}
}

func (h *Hub) respond(m *nats.Msg, v any) {
	data, err := json.Marshal(v)
	if err == nil {
		err = h.nc.Publish(m.Reply, data)
	}
	if err != nil {
		h.log.Warn(fmt.Sprintf("an answer can't be sent: %v", err))
	}
}

// join answers who has a token.
func (h *Hub) join(ctx context.Context, m *nats.Msg) {
	reply, changed, err := h.members.join(ctx, m.Data)
	switch {
	case err != nil:
		h.log.Error(fmt.Sprintf("a host could not be let in: %v", err))
	case changed != "":
		h.log.Log(ctx, eventlog.LevelNotice, fmt.Sprintf("Host %s is in the fleet", changed))
		h.changed()
	case reply.Refused != "":
		h.log.Warn("a host was not let in: " + reply.Refused)
	}
	h.respond(m, reply)
}

// leave takes out a host that says so: the server vouches for its name.
func (h *Hub) leave(ctx context.Context, m *nats.Msg) {
	name := strings.TrimPrefix(m.Subject, enrol.LeaveSubjects)
	reply := enrol.Reply{V: enrol.Version}
	var asked enrol.Leaving
	if err := enrol.Decode(m.Data, payloadMost, &asked); err != nil || asked != (enrol.Leaving{V: enrol.Version, Leave: true}) {
		reply.Refused = saidForm
		h.respond(m, reply)
		return
	}
	epoch, _ := h.gate.where()
	err := h.members.remove(ctx, name, "left", epoch, h.gate.config().MaxBan)
	if err != nil {
		h.log.Error(fmt.Sprintf("host %.80q leaves, but: %v", name, err))
		reply.Refused = saidLater
	} else {
		h.log.Log(ctx, eventlog.LevelNotice, fmt.Sprintf("Host %s has left", name))
	}
	// The answer first: it is cut off by what follows.
	h.respond(m, reply)
	if err == nil {
		_ = h.nc.FlushTimeout(time.Second)
		h.changed()
	}
}

// changed tells all hubs that who is in the fleet is another.
func (h *Hub) changed() {
	if err := h.nc.Publish(changedSubject, nil); err != nil {
		h.lookSoon()
	}
}
