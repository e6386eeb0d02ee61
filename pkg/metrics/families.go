package metrics

// All metrics, in the order in which they are told. docs/metrics.md has the same table, and a test
// sees to it.

var (
	jail   = []string{"jail"}
	perLog = []string{"jail", "log"}
	result = []string{"result"}
)

// Those that exporters of fail2ban tell, under their names.
var (
	F2bUp            = &Family{Name: "f2b_up", Type: Gauge, Help: "Whether the daemon answers: 1."}
	F2bErrors        = &Family{Name: "f2b_errors", Type: Counter, Labels: []string{"type"}, Help: "Errors of an exporter on its way to the daemon; there is no such way here: always 0."}
	F2bVersion       = &Family{Name: "f2b_version", Type: Gauge, Labels: []string{"exporter", "fail2ban"}, Help: "The version of bailiff, and the one that the daemon answers to fail2ban's clients."}
	F2bJailCount     = &Family{Name: "f2b_jail_count", Type: Gauge, Help: "Jails that fail2ban's status lists."}
	F2bFailedCurrent = &Family{Name: "f2b_jail_failed_current", Type: Gauge, Labels: jail, Help: "Addresses with failures in the window now (fail2ban-client status: Currently failed)."}
	F2bFailedTotal   = &Family{Name: "f2b_jail_failed_total", Type: Counter, Labels: jail, Help: "Failures since the start (Total failed)."}
	F2bBannedCurrent = &Family{Name: "f2b_jail_banned_current", Type: Gauge, Labels: jail, Help: "Bans in force now (Currently banned)."}
	F2bBannedTotal   = &Family{Name: "f2b_jail_banned_total", Type: Counter, Labels: jail, Help: "Bans, those that the start went on with among them (Total banned)."}
	F2bBanTime       = &Family{Name: "f2b_config_jail_ban_time", Type: Gauge, Labels: jail, Help: "The setting bantime, in seconds; -1: for ever."}
	F2bFindTime      = &Family{Name: "f2b_config_jail_find_time", Type: Gauge, Labels: jail, Help: "The setting findtime, in seconds."}
	F2bMaxRetry      = &Family{Name: "f2b_config_jail_max_retries", Type: Gauge, Labels: jail, Help: "The setting maxretry."}
)

// The daemon itself.
var (
	BuildInfo      = &Family{Name: "bailiff_build_info", Type: Gauge, Labels: []string{"version", "goversion"}, Help: "What the program was built of: 1."}
	StartTime      = &Family{Name: "process_start_time_seconds", Type: Gauge, Help: "When the daemon was started, in seconds since 1970."}
	CPUSeconds     = &Family{Name: "process_cpu_seconds_total", Type: Counter, Help: "Processor time that the daemon's process has taken, without the programs that it runs."}
	ResidentMax    = &Family{Name: "bailiff_process_resident_memory_max_bytes", Type: Gauge, Help: "The most memory that was ever resident."}
	Goroutines     = &Family{Name: "go_goroutines", Type: Gauge, Help: "Goroutines that there are."}
	LogMessages    = &Family{Name: "bailiff_log_messages_total", Type: Counter, Labels: []string{"level"}, Help: "Lines that the daemon would log, of level warning, error, critical, whatever its loglevel is."}
	Events         = &Family{Name: "bailiff_events_last_number", Type: Gauge, Help: "Number of the last event; absent while their files are not open."}
	ReloadOK       = &Family{Name: "bailiff_config_last_reload_successful", Type: Gauge, Help: "Whether the last reload, or the start, took the whole configuration: 1, or 0 where some of it was wrong."}
	ReloadTime     = &Family{Name: "bailiff_config_last_reload_success_timestamp_seconds", Type: Gauge, Help: "When a reload, or the start, last took the whole configuration, in seconds since 1970."}
	Reloads        = &Family{Name: "bailiff_config_reloads_total", Type: Counter, Labels: result, Help: "Reloads, by what came of them: success, failure."}
	Clients        = &Family{Name: "bailiff_socket_clients", Type: Gauge, Labels: []string{"socket"}, Help: "Clients that are connected, by socket: owner, reader."}
	ClientsRefused = &Family{Name: "bailiff_socket_clients_refused_total", Type: Counter, Labels: []string{"socket"}, Help: "Clients that were cut off or not let in, since there were too many or they behaved badly."}
	PartsMissing   = &Family{Name: "bailiff_metrics_missing", Type: Gauge, Labels: []string{"part"}, Help: "Whether the metrics of a part of the daemon are missing on this page, since it did not answer in time: 1. Those of other parts are there."}
	SeriesCut      = &Family{Name: "bailiff_metrics_series_left_out", Type: Gauge, Help: "Series that there was no room for on this page; see docs/bounds.md."}
)

// Jails.
var (
	JailUp       = &Family{Name: "bailiff_jail_up", Type: Gauge, Labels: jail, Help: "Whether a configured jail runs."}
	JailProblems = &Family{Name: "bailiff_jail_problems", Type: Gauge, Labels: jail, Help: "What is wrong with a running jail, or its logs, in parts: how many lines of bailiff status."}
	JailBusy     = &Family{Name: "bailiff_jail_busy_seconds", Type: Gauge, Labels: jail, Help: "For how long the jail has been at one piece of work, such as a piece of its log; 0: at none."}
	JailObserve  = &Family{Name: "bailiff_jail_observes", Type: Gauge, Labels: jail, Help: "Whether the jail only observes, and bans nobody."}
	WouldBan     = &Family{Name: "bailiff_jail_would_ban_current", Type: Gauge, Labels: jail, Help: "Who would be banned now, of a jail that only observes."}
	Matched      = &Family{Name: "bailiff_jail_lines_matched_total", Type: Counter, Labels: jail, Help: "Lines in which the filter found failures."}
	Undated      = &Family{Name: "bailiff_jail_lines_undated_total", Type: Counter, Labels: jail, Help: "Lines in which no date was found; they are looked at all the same, and count as of the line before."}
	OffClock     = &Family{Name: "bailiff_jail_lines_off_clock_total", Type: Counter, Labels: jail, Help: "Lines with failures whose date is off the clock by more than a minute: another time zone, a wrong clock, an old line."}
	GivenUp      = &Family{Name: "bailiff_jail_lines_given_up_total", Type: Counter, Labels: jail, Help: "Lines on which an expression was given up, since it took too long."}
	Ignored      = &Family{Name: "bailiff_jail_failures_ignored_total", Type: Counter, Labels: jail, Help: "Failures that did not count since the address is never banned: ignoreip, ignoreself, ignorecommand, who is let in."}
	TooOld       = &Family{Name: "bailiff_jail_failures_old_total", Type: Counter, Labels: jail, Help: "Failures that did not count since they were older than findtime when they were read."}
)

// Logs.
var (
	LogUp      = &Family{Name: "bailiff_log_up", Type: Gauge, Labels: perLog, Help: "Whether a log can be read now; 0: it is missing, or can't be opened, or its file system hangs."}
	LogLines   = &Family{Name: "bailiff_log_lines_read_total", Type: Counter, Labels: perLog, Help: "Lines of a log that the jail has looked at."}
	LogBytes   = &Family{Name: "bailiff_log_read_bytes_total", Type: Counter, Labels: perLog, Help: "Bytes of these lines, as they were looked at."}
	LogLast    = &Family{Name: "bailiff_log_last_line_timestamp_seconds", Type: Gauge, Labels: perLog, Help: "When the jail last got lines of the log, in seconds since 1970; absent until then."}
	LogLag     = &Family{Name: "bailiff_log_lag_bytes", Type: Gauge, Labels: perLog, Help: "Bytes of a log's file that are not read yet; absent where it is no file, or its file system does not answer in time."}
	LogLagTime = &Family{Name: "bailiff_log_lag_seconds", Type: Gauge, Labels: perLog, Help: "For how long the oldest of these has been there, as far as it was noticed; 0: there are none."}
)

// The kernel.
var (
	BanLatency   = &Family{Name: "bailiff_ban_latency_seconds", Type: HistogramType, Help: "From when a line was written, as the kernel reported it to the daemon, until the ban that it led to is in force in the kernel. Lines that were there at a start are left out."}
	Transactions = &Family{Name: "bailiff_kernel_transactions_total", Type: Counter, Labels: result, Help: "Transactions of changes of sets, by what came of them: success, failure (the kernel has refused some of it)."}
	Transaction  = &Family{Name: "bailiff_kernel_transaction_duration_seconds", Type: HistogramType, Help: "How long these took."}
	Changes      = &Family{Name: "bailiff_kernel_changes_total", Type: Counter, Help: "Elements of sets that were to be added, lengthened or removed by them."}
	ChangesWait  = &Family{Name: "bailiff_kernel_changes_waiting", Type: Gauge, Help: "Those that wait for the next transaction."}
	Elements     = &Family{Name: "bailiff_kernel_set_elements", Type: Gauge, Labels: []string{"jail", "set"}, Help: "Elements of a set, as the kernel counts them. Kernels that don't count are not asked: absent."}
	Owed         = &Family{Name: "bailiff_kernel_refused_jails", Type: Gauge, Help: "Jails of which the kernel has refused something that it does not hold yet; it is tried again."}
	Repairs      = &Family{Name: "bailiff_kernel_repairs_total", Type: Counter, Help: "How often something of ours in the kernel was made right that somebody else had changed."}
)

// The database, actions, lists, lists elsewhere.
var (
	DatabaseUp     = &Family{Name: "bailiff_database_up", Type: Gauge, Help: "Whether the database could be written the last time; absent where there is none."}
	DatabaseWrites = &Family{Name: "bailiff_database_transactions_total", Type: Counter, Labels: result, Help: "Tries to write what has changed, by what came of them: success, failure (it is tried again)."}
	DatabaseWrite  = &Family{Name: "bailiff_database_transaction_duration_seconds", Type: HistogramType, Help: "How long these took."}
	DatabaseSize   = &Family{Name: "bailiff_database_size_bytes", Type: Gauge, Labels: []string{"part"}, Help: "Sizes of its files: database, wal, changes, events; absent where the disk does not answer in time."}
	ActionRuns     = &Family{Name: "bailiff_action_commands_total", Type: Counter, Labels: []string{"jail", "action", "result"}, Help: "Commands and mails of actions, by what came of them: success, failure."}
	ActionTime     = &Family{Name: "bailiff_action_command_seconds_total", Type: Counter, Labels: []string{"jail", "action"}, Help: "How long these took, in all."}
	ActionWaiting  = &Family{Name: "bailiff_action_jobs_waiting", Type: Gauge, Labels: []string{"jail", "action"}, Help: "Bans and unbans that the action has not come to."}
	ActionDuration = &Family{Name: "bailiff_action_command_duration_seconds", Type: HistogramType, Help: "How long commands and mails of all actions took."}
	ListEntries    = &Family{Name: "bailiff_list_ranges", Type: Gauge, Labels: jail, Help: "Ranges of addresses that a list shuts out."}
	ListLoaded     = &Family{Name: "bailiff_list_loaded_timestamp_seconds", Type: Gauge, Labels: jail, Help: "When the list's files were last read anew, in seconds since 1970; absent until then."}
	ListFetched    = &Family{Name: "bailiff_list_fetched_timestamp_seconds", Type: Gauge, Labels: []string{"jail", "url"}, Help: "When a list at a URL was last fetched, or reported unchanged, in seconds since 1970."}
	ExportItems    = &Family{Name: "bailiff_export_items", Type: Gauge, Labels: []string{"export"}, Help: "Items of ours on a list elsewhere."}
	ExportBehind   = &Family{Name: "bailiff_export_behind", Type: Gauge, Labels: []string{"export"}, Help: "Changes that have not come to a list elsewhere; events that have not come to a webhook."}
	ExportOK       = &Family{Name: "bailiff_export_up", Type: Gauge, Labels: []string{"export"}, Help: "Whether the last request to a list elsewhere, or to a webhook, was answered as it should be."}
	ExportSuccess  = &Family{Name: "bailiff_export_last_success_timestamp_seconds", Type: Gauge, Labels: []string{"export"}, Help: "When that was so last, in seconds since 1970; absent until then."}
	ReportsSent    = &Family{Name: "bailiff_reports_sent_total", Type: Counter, Labels: []string{"report"}, Help: "Addresses that were reported."}
	ReportsWaiting = &Family{Name: "bailiff_reports_waiting", Type: Gauge, Labels: []string{"report"}, Help: "Those that wait to be."}
)

// A fleet; absent where the host is in none.
var (
	FleetUp       = &Family{Name: "bailiff_fleet_connected", Type: Gauge, Help: "Whether there is a connection to a hub of the fleet; absent, as all of these, where the host is in none."}
	FleetComplete = &Family{Name: "bailiff_fleet_complete", Type: Gauge, Help: "Whether all was read that the hub had at its last beat."}
	FleetEntries  = &Family{Name: "bailiff_fleet_entries", Type: Gauge, Labels: []string{"kind"}, Help: "What is held of the fleet, by kind: ban, lift."}
	FleetInForce  = &Family{Name: "bailiff_fleet_in_force", Type: Gauge, Labels: []string{"group"}, Help: "Addresses and networks that the fleet shuts out here."}
	FleetOrigin   = &Family{Name: "bailiff_fleet_host_bans", Type: Gauge, Labels: []string{"host"}, Help: "Bans that are held of a host; of the 100 that have most."}
	FleetQuota    = &Family{Name: "bailiff_fleet_host_quota", Type: Gauge, Help: "How many are held of each other host at the most."}
	FleetLag      = &Family{Name: "bailiff_fleet_lag", Type: Gauge, Help: "Words in the hub's stream that are not read yet, as far as is known."}
	FleetOutbox   = &Family{Name: "bailiff_fleet_outbox", Type: Gauge, Help: "Words of this host that the stream doesn't hold yet."}
	FleetOldest   = &Family{Name: "bailiff_fleet_outbox_oldest_timestamp_seconds", Type: Gauge, Help: "When the oldest of these was said, in seconds since 1970; absent where there are none."}
	FleetRefused  = &Family{Name: "bailiff_fleet_refused_total", Type: Counter, Labels: []string{"by", "reason"}, Help: "What was not taken, by whom (this host, of others; the hub, of this host) and why."}
	FleetFailures = &Family{Name: "bailiff_fleet_failures_total", Type: Counter, Labels: []string{"outcome"}, Help: "Failures for the hub to count over all hosts, by outcome: kept to be sent, lost (too many); absent, as the next one, where none are counted."}
	FleetCounted  = &Family{Name: "bailiff_fleet_failures_addresses", Type: Gauge, Labels: []string{"state"}, Help: "Addresses of which failures are reported, by state: kept, waiting (of these, to be sent)."}
	FleetAllow    = &Family{Name: "bailiff_fleet_allow_version", Type: Gauge, Help: "Version of the fleet's signed allow-list that is held; absent, as the next one, where no key is pinned."}
	FleetAllowBad = &Family{Name: "bailiff_fleet_allow_refused", Type: Gauge, Help: "Whether the hub hands on an allow-list that is not taken: older, unsigned, or of another key."}
	FleetStored   = &Family{Name: "bailiff_fleet_stored_total", Type: Counter, Help: "Words of this host that the hub has stored."}
)

// Families are all metrics, in the order in which they are told.
var Families = numbered([]*Family{
	F2bUp, F2bErrors, F2bVersion, F2bJailCount, F2bFailedCurrent, F2bFailedTotal, F2bBannedCurrent, F2bBannedTotal, F2bBanTime, F2bFindTime, F2bMaxRetry,
	BuildInfo, StartTime, CPUSeconds, ResidentMax, Goroutines, LogMessages, Events, ReloadOK, ReloadTime, Reloads, Clients, ClientsRefused, PartsMissing, SeriesCut,
	JailUp, JailProblems, JailBusy, JailObserve, WouldBan, Matched, Undated, OffClock, GivenUp, Ignored, TooOld,
	LogUp, LogLines, LogBytes, LogLast, LogLag, LogLagTime,
	BanLatency, Transactions, Transaction, Changes, ChangesWait, Elements, Owed, Repairs,
	DatabaseUp, DatabaseWrites, DatabaseWrite, DatabaseSize,
	ActionRuns, ActionTime, ActionWaiting, ActionDuration,
	ListEntries, ListLoaded, ListFetched, ExportItems, ExportBehind, ExportOK, ExportSuccess, ReportsSent, ReportsWaiting,
	FleetUp, FleetComplete, FleetEntries, FleetInForce, FleetOrigin, FleetQuota, FleetLag, FleetOutbox, FleetOldest, FleetRefused, FleetStored, FleetFailures, FleetCounted, FleetAllow, FleetAllowBad,
})

func numbered(all []*Family) []*Family {
	for i, f := range all {
		f.at = i
	}
	return all
}
