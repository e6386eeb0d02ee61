package control

import (
	"bytes"
	"encoding"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"bailiff/pkg/history"
	"bailiff/pkg/jail"
)

// docs/openapi.json is made of the table of routes and of the types that requests and answers are read and
// written with:
//
//	go test ./pkg/control -run TestOpenAPI -openapi

var writeOpenAPI = flag.Bool("openapi", false, "write docs/openapi.json")

// shape is what a route takes and answers.
type shape struct {
	what   string
	params []string
	body   any
	answer any    // nil: it is no JSON
	form   string // of what is none
}

var shapes = map[string]shape{
	"GET /v1/ping":                     {what: "Whether the daemon answers.", answer: ""},
	"GET /v1/status":                   {what: "The daemon and its jails.", answer: Status{}},
	"GET /v1/jails/{jail}":             {what: "A jail with its bans.", answer: jail.Status{}},
	"GET /v1/bans":                     {what: "All bans; with q, sort, limit, after or before a page of them.", params: []string{"jail", "format", "q", "sort", "limit", "after", "before"}, answer: oneOf{[]jail.BanStatus{}, BansPage{}}},
	"GET /v1/jails/{jail}/settings":    {what: "A jail's settings with their places.", answer: JailSettings{}},
	"POST /v1/jails/{jail}/settings":   {what: "Changes settings, for now or for good.", body: SettingsRequest{}, answer: SettingsResult{}},
	"DELETE /v1/jails/{jail}/settings": {what: "Takes back what was changed.", answer: SettingsResult{}},
	"GET /v1/events":                   {what: "What has happened, a line of JSON each, or server-sent events.", params: []string{"since", "last", "from", "jail", "ip", "kind", "follow"}, form: "application/x-ndjson"},
	"GET /metrics":                     {what: "Numbers for Prometheus.", form: "text/plain"},
	"GET /v1/why":                      {what: "What is known of an address, a network or an id.", params: []string{"ip"}, answer: Why{}},
	"POST /v1/filter/try":              {what: "Shows a filter lines.", body: TryRequest{}, answer: TryAnswer{}},
	"GET /v1/filters":                  {what: "Filters that were saved.", answer: []SavedFilter{}},
	"POST /v1/filters/{name}":          {what: "Saves a filter, or removes one that was saved.", body: SaveRequest{}, answer: SaveResult{}},
	"GET /v1/doctor":                   {what: "What is wrong on this host, as far as the daemon sees it.", params: []string{"jail", "age", "wait"}, answer: DoctorAnswer{}},
	"POST /v1/replay":                  {what: "Runs a jail over a log that there is, or that is the body.", params: []string{"jail", "log", "maxretry", "findtime", "bantime"}, answer: ReplayAnswer{}},
	"GET /v1/history":                  {what: "Failures and bans over time.", params: []string{"from", "to", "step", "jail"}, answer: history.Answer{}},
	"GET /v1/top":                      {what: "Who was most active.", params: []string{"what", "since", "jail", "limit"}, answer: TopAnswer{}},
	"POST /v1/import":                  {what: "Takes over bans that were made elsewhere.", body: ImportRequest{}, answer: []ImportResult{}},
	"POST /v1/jails/{jail}/ban":        {what: "Bans.", body: BanRequest{}, answer: []BanResult{}},
	"POST /v1/unban":                   {what: "Lifts bans.", body: UnbanRequest{}, answer: []UnbanResult{}},
	"GET /v1/allow":                    {what: "Who is let in for a while.", answer: []Allowance{}},
	"POST /v1/allow":                   {what: "Lets somebody in for a while.", body: AllowRequest{}, answer: []AllowResult{}},
	"GET /v1/never":                    {what: "Who is never banned, since somebody has said so.", answer: []Never{}},
	"POST /v1/never":                   {what: "Has somebody never banned, or takes that back.", body: NeverRequest{}, answer: []AllowResult{}},
	"GET /v1/fleet":                    {what: "How this host stands with its fleet.", answer: FleetStatus{}},
	"POST /v1/fleet/ban":               {what: "Bans in the fleet.", body: FleetBanRequest{}, answer: []BanResult{}},
	"POST /v1/web/login":               {what: "Makes a login for the page.", body: WebLoginRequest{}, answer: WebLogin{}},
	"POST /v1/reload":                  {what: "Reads the configuration anew.", answer: ReloadResult{}},
	"POST /v1/stop":                    {what: "Ends the daemon.", answer: ""},
}

// oneOf is an answer of one of several forms.
type oneOf []any

type object = map[string]any

// describer makes schemas of types.
type describer struct{ named map[string]any }

var (
	timeType    = reflect.TypeFor[time.Time]()
	textType    = reflect.TypeFor[encoding.TextMarshaler]()
	jsonType    = reflect.TypeFor[json.Marshaler]()
	settingType = reflect.TypeFor[SettingText]()
)

func (d *describer) of(t reflect.Type) any {
	switch {
	case t == timeType:
		return object{"type": "string", "format": "date-time"}
	case t == settingType:
		return object{"type": []any{"string", "integer"}}
	case t.Kind() == reflect.Pointer:
		return object{"anyOf": []any{d.of(t.Elem()), object{"type": "null"}}}
	case t.Implements(jsonType):
		return object{}
	case t.Implements(textType):
		return object{"type": "string"}
	}
	switch t.Kind() {
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Float32, reflect.Float64:
		return object{"type": "number"}
	case reflect.Slice, reflect.Array:
		return object{"type": []any{"array", "null"}, "items": d.of(t.Elem())}
	case reflect.Map:
		return object{"type": []any{"object", "null"}, "additionalProperties": d.of(t.Elem())}
	case reflect.Interface:
		return object{}
	case reflect.Struct:
		name := filepath.Base(t.PkgPath()) + "." + t.Name()
		if _, ok := d.named[name]; !ok {
			d.named[name] = nil // it may hold itself
			properties, required := object{}, []string{}
			d.fields(t, properties, &required)
			d.named[name] = object{"type": "object", "properties": properties, "required": required, "additionalProperties": false}
		}
		return object{"$ref": "#/components/schemas/" + name}
	}
	return object{"type": "integer"}
}

func (d *describer) fields(t reflect.Type, properties object, required *[]string) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, more, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-" || !f.IsExported() && !f.Anonymous:
			continue
		case f.Anonymous && name == "":
			d.fields(f.Type, properties, required)
			continue
		case name == "":
			name = f.Name
		}
		properties[name] = d.of(f.Type)
		if !strings.Contains(more, "omit") {
			*required = append(*required, name)
		}
	}
	slices.Sort(*required)
}

func (d *describer) value(v any) any {
	if all, ok := v.(oneOf); ok {
		var list []any
		for _, x := range all {
			list = append(list, d.of(reflect.TypeOf(x)))
		}
		return object{"oneOf": list}
	}
	return d.of(reflect.TypeOf(v))
}

func openAPI(t *testing.T) object {
	d := &describer{named: map[string]any{}}
	paths := object{}
	for _, rt := range routes {
		s, ok := shapes[rt.pattern]
		if !ok {
			t.Errorf("%s: nobody says what it takes and answers", rt.pattern)
			continue
		}
		method, path, _ := strings.Cut(rt.pattern, " ")
		answer := object{"description": "what was asked for"}
		switch {
		case s.answer != nil:
			answer["content"] = object{"application/json": object{"schema": d.value(s.answer)}}
		default:
			answer["content"] = object{s.form: object{"schema": object{"type": "string"}}}
		}
		op := object{
			"summary": s.what, "x-role": rt.role.String(),
			"responses": object{"200": answer, "default": object{"description": "why not", "content": object{"application/json": object{"schema": d.value(Failure{})}}}},
		}
		params := []any{}
		for _, name := range []string{"jail", "name"} {
			if strings.Contains(path, "{"+name+"}") {
				params = append(params, object{"name": name, "in": "path", "required": true, "schema": object{"type": "string"}})
			}
		}
		for _, p := range s.params {
			params = append(params, object{"name": p, "in": "query", "schema": object{"type": "string"}})
		}
		if len(params) > 0 {
			op["parameters"] = params
		}
		if s.body != nil {
			schema := d.value(s.body).(object)
			named := d.named[strings.TrimPrefix(schema["$ref"].(string), "#/components/schemas/")].(object)
			named["required"] = []string{} // what isn't there is as nothing
			op["requestBody"] = object{"required": true, "content": object{"application/json": object{"schema": schema}}}
		}
		at, _ := paths[path].(object)
		if at == nil {
			at = object{}
			paths[path] = at
		}
		at[strings.ToLower(method)] = op
	}
	return object{
		"openapi": "3.1.0", "info": object{"title": "bailiff", "version": "1", "description": "The daemon's API over its Unix socket: docs/api.md."},
		"servers": []any{object{"url": "http://bailiff", "description": "over the Unix socket /run/bailiff/bailiff.sock"}},
		"paths":   paths, "components": object{"schemas": d.named},
	}
}

// TestOpenAPI: docs/openapi.json is what the table of routes and the types of answers say, docs/api.md tells of
// each route, and real answers are of the form that it promises.
func TestOpenAPI(t *testing.T) {
	got, err := json.MarshalIndent(openAPI(t), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	file := filepath.Join("..", "..", "docs", "openapi.json")
	if *writeOpenAPI {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	was, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(was, got) {
		t.Errorf("%s is not what routes and types say (%v): go test ./pkg/control -run TestOpenAPI -openapi writes it", file, err)
	}
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "api.md"))
	if err != nil {
		t.Fatal(err)
	}
	for pattern := range shapes {
		if !slices.ContainsFunc(routes, func(rt route) bool { return rt.pattern == pattern }) {
			t.Errorf("%s: there is no such route", pattern)
		}
		if told := strings.NewReplacer("{jail}", "JAIL", "{name}", "NAME").Replace(pattern); !strings.Contains(string(page), "`"+told) {
			t.Errorf("docs/api.md does not tell of %s", told)
		}
	}
	var doc object
	if err := json.Unmarshal(got, &doc); err != nil {
		t.Fatal(err)
	}
	in := NewInside(&fake{}, func(string) {})
	defer in.Close()
	for _, rt := range routes {
		method, pattern, _ := strings.Cut(rt.pattern, " ")
		s := shapes[rt.pattern]
		queries := []string{""}
		if rt.pattern == "GET /v1/bans" {
			queries = append(queries, "?q=192.0.2.0/24&limit=7")
		}
		if s.answer == nil {
			continue
		}
		for _, query := range queries {
			res, err := in.Client(Caller{"anna", Owner}).http.Do(newRequest(t, method, strings.ReplaceAll(pattern, "{jail}", aJail)+query, `{}`))
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(res.Body)
			res.Body.Close()
			code := "200"
			if res.StatusCode != http.StatusOK {
				code = "default"
			}
			var v any
			if err := json.Unmarshal(body, &v); err != nil {
				t.Errorf("%s: %v: %s", rt.pattern, err, body)
				continue
			}
			op := doc["paths"].(object)[pattern].(object)[strings.ToLower(method)].(object)
			schema := op["responses"].(object)[code].(object)["content"].(object)["application/json"].(object)["schema"]
			if err := conforms(doc, schema.(object), v); err != nil {
				t.Errorf("%s: %v: %s", rt.pattern, err, body)
			}
		}
	}
	// The check itself finds what is wrong.
	schema := object{"$ref": "#/components/schemas/control.BanResult"}
	for _, wrong := range []string{`{"ip": 7, "added": true}`, `{"ip": "x"}`, `{"ip": "x", "added": true, "more": 1}`, `[]`, `null`} {
		var v any
		_ = json.Unmarshal([]byte(wrong), &v)
		if conforms(doc, schema, v) == nil {
			t.Errorf("%s is taken for a BanResult", wrong)
		}
	}
}

// conforms says what of a value is not as a schema says.
func conforms(doc, schema object, v any) error {
	if ref, ok := schema["$ref"].(string); ok {
		named, _ := doc["components"].(object)["schemas"].(object)[strings.TrimPrefix(ref, "#/components/schemas/")].(object)
		if named == nil {
			return fmt.Errorf("%s is nowhere", ref)
		}
		return conforms(doc, named, v)
	}
	for _, key := range []string{"anyOf", "oneOf"} {
		if list, ok := schema[key].([]any); ok {
			var err error
			for _, s := range list {
				if err = conforms(doc, s.(object), v); err == nil {
					return nil
				}
			}
			return err
		}
	}
	types, _ := schema["type"].([]any)
	if one, ok := schema["type"].(string); ok {
		types = []any{one}
	}
	if types == nil {
		return nil
	}
	is := map[bool]string{true: "null"}[v == nil]
	switch v := v.(type) {
	case bool:
		is = "boolean"
	case string:
		is = "string"
	case float64:
		is = "number"
		if v == float64(int64(v)) && slices.Contains(types, any("integer")) {
			is = "integer"
		}
	case []any:
		is = "array"
		for _, x := range v {
			if err := conforms(doc, schema["items"].(object), x); err != nil {
				return err
			}
		}
	case object:
		is = "object"
		properties, _ := schema["properties"].(object)
		for key, x := range v {
			s, ok := properties[key].(object)
			if !ok {
				if s, ok = schema["additionalProperties"].(object); !ok {
					return fmt.Errorf("nobody says what %q is", key)
				}
			}
			if err := conforms(doc, s, x); err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
		}
		required, _ := schema["required"].([]any)
		for _, key := range required {
			if _, ok := v[key.(string)]; !ok {
				return fmt.Errorf("%q is missing", key)
			}
		}
	}
	if !slices.Contains(types, any(is)) {
		return fmt.Errorf("%v is %s, want %v", v, is, types)
	}
	return nil
}
