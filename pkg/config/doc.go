// Package config reads bailiff's configuration into one resolved, typed Config;
// after it, nobody parses a string again.
//
// A configuration is TOML: bailiff.toml, jails/*.toml and filters/*.toml in one
// directory, over the stock definitions that the program carries. Keys are
// fail2ban's words. Or it is a tree of fail2ban's own, as it is. Every error is
// collected with file and line; what is wrong with one jail or filter stays with
// it, so that the others can start.
//
// # Files
//
// Two languages come in, one Config comes out. A file's name says where it belongs:
//
//   - config.go has Load and Config, jail by jail: what everybody else sees.
//   - toml*.go read our own language: files (tomlfiles.go) become documents whose
//     keys have lines (tomldocument.go, tomlplaces.go), documents become tables
//     (tomltables.go, tomltypes.go), bailiff.toml the daemon's settings
//     (tomlmain.go), and the layers of a jail one Jail (tomlresolve.go).
//   - f2b*.go read fail2ban's (f2btree.go first), whose files package
//     config/fail2ban has put over one another; and what fail2ban's actions do by
//     commands of a firewall, done by nftables' sets in their place.
//   - keys*.go are the table of all keys: of jails keysjail.go, where a key is one
//     entry, of other tables keyswords.go and its like, with tomltables.go. Manual
//     pages, `bailiff config reference`, the schema for editors (keysschema.go) and
//     `bailiff config show` (settings.go) are made of it.
//   - write.go writes a Config of fail2ban's as TOML: `bailiff config import`.
//   - What both languages say, one file for a subject: values.go, seconds.go,
//     backend.go, bans.go, counting.go, ignore.go, proxy.go, journalwords.go,
//     logtarget.go.
//   - Tables of bailiff.toml with rules of their own: check.go, web.go, fleet.go,
//     report.go, exporthttp.go, listurl.go, syslog.go, docker.go, and labels.go,
//     which makes jails of containers' labels.
//   - Around the reading: within.go has a deadline for a disk that hangs, trust.go
//     looks who may write to a configuration, socket.go finds the daemon's socket
//     where nothing else is asked for.
package config
