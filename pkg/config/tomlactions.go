package config

import (
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"bailiff/pkg/action"
	"bailiff/pkg/tags"
)

// What a configuration of ours says of actions and exports.

// actions are those of a jail: [jail.NAME.action.ACTION]. A later layer replaces an
// action of the same name.
func (r *resolver) actions(jail string) (out []action.Definition) {
	found := map[string]value[rawAction]{}
	for _, l := range r.layers {
		for name, a := range l.raw.action {
			found[name] = value[rawAction]{a, l}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		a := found[name]
		o := &tags.Options{}
		o.Set("name", jail)
		o.Set("actname", name)
		for _, p := range sortedKeys(a.v.Param) {
			o.Set(p, a.v.Param[p])
		}
		for _, c := range []struct{ name, text string }{
			{"actionstart", a.v.Start},
			{"actionstop", a.v.Stop},
			{"actioncheck", a.v.Check},
			{"actionrepair", a.v.Repair},
			{"actionban", a.v.Ban},
			{"actionunban", a.v.Unban},
			{"actionflush", a.v.Flush},
		} {
			if c.text != "" {
				o.Set(c.name, c.text)
			}
		}
		if a.v.NoRestored {
			o.Set("norestored", "1")
		}
		if a.v.Timeout != nil {
			o.Set("timeout", string(*a.v.Timeout))
		}
		if a.v.Ban == "" && a.v.Unban == "" {
			r.fail(a.at, "action", fmt.Errorf("action %s: want ban or unban: the command that is run", name))
			continue
		}
		def, err := CommandAction(name, o)
		if err != nil {
			r.fail(a.at, "action", err)
			continue
		}
		out = append(out, def)
	}
	return out
}

var exportFormats = []string{ExportNginx, ExportDeny, ExportPlain, ExportHAProxy}

// exports reads [export.NAME]. One that is wrong stays as it was, where a daemon runs.
func (l *loader) exports(doc *document, raw map[string]rawExport) {
	table, _ := doc.get("export").(map[string]any)
	for _, name := range sortedKeys(table) {
		x, ok := raw[name] // not one with a value of another type, which is told
		fail := func(key, format string, args ...any) {
			ok = false
			l.complain(l.stays(&Error{doc.file, doc.line("export", name, key), "export " + name + ": " + fmt.Sprintf(format, args...)}))
		}
		if ok && x.Kind != "" && x.Kind != ExportFile && x.Kind != ExportHTTP && x.Kind != ExportHook {
			fail("kind", "kind %q: want %s, %s, %s", x.Kind, ExportFile, ExportHTTP, ExportHook)
		}
		if read := map[string]func(string, rawExport, string, func(string, string, ...any)) (HTTPExport, bool){ExportHTTP: l.httpExport, ExportHook: l.webhook}[x.Kind]; ok && read != nil {
			if h, good := read(name, x, fmt.Sprintf("%s:%d", doc.file, doc.line("export", name, "kind")), fail); good {
				l.cfg.HTTPExports = append(l.cfg.HTTPExports, h)
				continue
			}
		}
		for _, of := range x.ofHTTP() {
			if ok && of.given {
				fail(of.key, "%s is for lists elsewhere (kind = %q)", of.key, ExportHTTP)
			}
		}
		if ok && !filepath.IsAbs(x.File) {
			fail("file", "file %q: want a path from the root", x.File)
		}
		if ok && !slices.Contains(exportFormats, x.Format) {
			fail("format", "format %q: want %s", x.Format, strings.Join(exportFormats, ", "))
		}
		if ok && x.Socket != "" {
			_, err := netip.ParseAddrPort(x.Socket)
			switch {
			case x.Format != ExportHAProxy:
				fail("socket", "socket is for format = %q", ExportHAProxy)
			case err != nil && !filepath.IsAbs(x.Socket):
				fail("socket", "socket %q: want a path from the root, or ADDRESS:PORT", x.Socket)
			case strings.ContainsAny(x.File, " ;\\\t\n"):
				fail("file", "file %q: HAProxy's socket takes no name with blanks, ; or \\", x.File)
			}
		}
		if ok {
			l.cfg.Exports = append(l.cfg.Exports, BanFile{
				name, x.File, x.Format, x.Jails, x.Reload,
				fmt.Sprintf("%s:%d", doc.file, doc.line("export", name, "file")), x.Socket,
			})
			continue
		}
		if l.was != nil {
			l.cfg.Exports = stayed(l.cfg.Exports, l.was.Exports, name, func(x BanFile) string { return x.Name })
			l.cfg.HTTPExports = stayed(l.cfg.HTTPExports, l.was.HTTPExports, name, func(x HTTPExport) string { return x.Name })
		}
	}
}
