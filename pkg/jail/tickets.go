package jail

import (
	"context"
	"fmt"
	"log/slog"
	"time"
)

// At the level DEBUG the log tells how many bans there are, whenever it is another number,
// in fail2ban's words.

// tickets is what was told.
type tickets struct{ have, total int }

func (j *Jail) tellTickets() {
	now := tickets{have: j.bans.Len(), total: j.bans.Total()}
	was := j.told
	if now == was {
		return
	}
	j.told = now
	log := j.deps.Log.With("component", "actions")
	if !log.Enabled(context.Background(), slog.LevelDebug) {
		return
	}
	made := now.total - was.total
	if made > 0 {
		text := fmt.Sprintf("Banned %d / %d, %d ticket(s) in '%s'", made, now.total, now.have, j.Config.Name)
		if j.actions.Empty() || !j.telling.CompareAndSwap(false, true) {
			log.Debug(text)
		} else {
			go j.tellBanned(text)
		}
	}
	if lifted := was.have + max(made, 0) - now.have; lifted > 0 {
		log.Debug(fmt.Sprintf("Unbanned %d, %d ticket(s) in '%s'", lifted, now.have, j.Config.Name))
	}
}

// ticketsMost is how long it is waited for actions to tell of bans.
const ticketsMost = 10 * time.Second

// tellBanned tells it when the actions have come to the bans, as fail2ban does: who waits
// for that line looks for what they did.
func (j *Jail) tellBanned(text string) {
	ctx, cancel := context.WithTimeout(j.ctx, ticketsMost)
	defer cancel()
	j.actions.Sync(ctx)
	j.telling.Store(false)
	j.deps.Log.With("component", "actions").Debug(text)
}

// tellFlush tells that all bans are lifted at once, and how many those were.
func (j *Jail) tellFlush(n int) {
	log := j.deps.Log.With("component", "actions")
	log.Debug("  Flush ban list")
	log.Debug(fmt.Sprintf("  Unbanned %d, 0 ticket(s) in '%s'", n, j.Config.Name))
	j.told = tickets{have: j.bans.Len(), total: j.bans.Total()}
}
