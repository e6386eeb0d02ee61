package config

import (
	"reflect"

	"bailiff/pkg/report"
)

const (
	anAbuseIPDB = "kind = \"abuseipdb\"\njails = [\"sshd\"]\ntoken_file = \"/etc/bailiff/abuseipdb.token\"\ncategories = [18, 22]"
	aBlocklist  = "kind = \"blocklist.de\"\njails = [\"sshd\"]\ntoken_file = \"/etc/bailiff/blocklist.token\"\nserver = \"fail2ban@example.org\"\nservice = \"ssh\"\nlines = true"
	aXARF       = "kind = \"xarf\"\njails = [\"sshd\"]\nto = \"abuse@example.net\"\nfrom = \"reports@example.org\"\norg = \"Example\""
)

// reportTable explains who is told of bans.
var reportTable = refTable{
	MainFile, "report.NAME", reflect.TypeFor[rawReport](), nil, []keyWords{
		{
			name: "kind", values: report.Kinds, example: anAbuseIPDB,
			text: "Who gets reports of bans: AbuseIPDB, blocklist.de, or whoever takes mails in the XARF form. docs/exports.md says what is sent.",
		},
		{
			name: "jails", example: anAbuseIPDB,
			text: "The jails whose bans are reported: those that lines of a log led to, not those by hand, of lists, or of before.",
		},
		{
			name: "every", time: true, def: "24h", example: anAbuseIPDB + "\nevery = \"3d\"",
			text: "An address is reported at most once in this time, by all jails of the report together: 15m to 7d.",
		},
		{
			name: "most", def: "1000", example: anAbuseIPDB + "\nmost = 500",
			text: "How many reports are sent in 24 hours, at most 10000; further ones are dropped, and logged.",
		},
		{
			name: "lines", def: "false", example: anAbuseIPDB + "\nlines = true",
			text: "Whether lines of the log are sent: the last ones, cut, without the names of users that the filter captures. They tell what else stands in them, as the names of hosts. blocklist.de takes no report without.",
		},
		{
			name: "token_file", example: anAbuseIPDB,
			text: "The file that holds the key by which the service knows us (of xarf, the password of smtp_user), and nothing else. It is root's or the daemon's user's, and others can't read it.",
		},
		{
			name: "token_credential", example: "kind = \"abuseipdb\"\njails = [\"sshd\"]\ntoken_credential = \"abuseipdb\"\ncategories = [18, 22]",
			text: "In place of token_file, the name of a credential that systemd hands to the service (LoadCredential=).",
		},
		{
			name: "url", def: "the service's", example: anAbuseIPDB + "\nurl = \"https://abuseipdb.example/api/v2\"",
			text: "Where the service's API begins, if not where it usually does; https alone.",
		},
		{
			name: "ca_file", def: "the system's", example: anAbuseIPDB + "\nca_file = \"/etc/bailiff/ca.pem\"",
			text: "Certificates in PEM that are trusted in place of the system's.",
		},
		{
			name: "categories", example: anAbuseIPDB,
			text: "What the attacks are, in numbers of AbuseIPDB's (18 is brute force, 22 is SSH).",
		},
		{
			name: "server", example: aBlocklist,
			text: "What blocklist.de knows this server by: an address of mail or a number.",
		},
		{
			name: "service", example: aBlocklist,
			text: "What was attacked, in blocklist.de's words: ssh, imap, ftp.",
		},
		{
			name: "to", example: aXARF,
			text: "The address to which mails go. Nobody looks up whose network an address is of: it is one that you have agreed on.",
		},
		{
			name: "from", example: aXARF,
			text: "Their sender, whom the report names as the contact; its domain is that of the report.",
		},
		{
			name: "org", example: aXARF,
			text: "Who reports, by name.",
		},
		{
			name: "smtp", def: "localhost", example: aXARF + "\nsmtp = \"mail.example.org:587\"",
			text: "The mail server: HOST, or HOST:PORT (port 25 without).",
		},
		{
			name: "smtp_user", example: aXARF + "\nsmtp = \"mail.example.org:587\"\nsmtp_user = \"reports\"\ntoken_file = \"/etc/bailiff/smtp.password\"",
			text: "Who logs in there, with the token as the password, over TLS (STARTTLS).",
		},
		{
			name: "protocol", def: "tcp", values: xarfProtocols, example: aXARF + "\nprotocol = \"udp\"",
			text: "By which protocol attackers of these jails come, as a XARF report has to say.",
		},
	},
}
