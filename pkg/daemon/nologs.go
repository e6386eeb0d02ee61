package daemon

import (
	"bailiff/pkg/config"
)

// LookForLogs looks for the logs of fail2ban's jails, for five seconds at most: a jail on
// a file system that doesn't answer waits for its logs. It returns an error for each jail
// that has none, and waits.
func LookForLogs(cfg *config.Config) (waiting []error) {
	type found struct {
		jail config.Jail
		err  error
	}
	results := make([]chan found, len(cfg.Jails))
	var looks []func() []error
	for i, j := range cfg.Jails {
		results[i] = make(chan found, 1)
		looks = append(looks, func() []error {
			f := found{jail: *j} // the jail itself is not touched by what comes too late
			f.err = f.jail.LookForLogs()
			results[i] <- f
			return nil
		})
	}
	inTime(looks)
	for i, j := range cfg.Jails {
		select {
		case f := <-results[i]:
			*j = f.jail
			if f.err != nil {
				waiting = append(waiting, f.err)
			}
		default:
		}
	}
	return waiting
}
