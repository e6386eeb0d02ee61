package config

import "strings"

// Schema returns the JSON schema (draft 7) of a kind of file, for editors that complete
// and check TOML by one: MainFile, JailFile or FilterFile.
func Schema(file string) map[string]any {
	s := schemaOf{keys: Reference()}
	var out map[string]any
	switch file {
	case MainFile:
		jail := s.table(MainFile, "jail.NAME")
		jail.properties()["action"] = named(s.table(MainFile, "jail.NAME.action.ACTION"))
		top := s.table(MainFile, "")
		for _, t := range []string{"read", "database", "firewall", "check", "web", "fleet", "proxy", "security", "docker", "syslog"} {
			top.properties()[t] = s.table(MainFile, t)
		}
		top.properties()["fleet"].(object).properties()["group"] = named(s.table(MainFile, "fleet.group.NAME"))
		top.properties()["export"] = named(s.table(MainFile, "export.NAME"))
		top.properties()["report"] = named(s.table(MainFile, "report.NAME"))
		top.properties()["default"] = object{"$ref": "#/definitions/jail"}
		top.properties()["jail"] = named(object{"$ref": "#/definitions/jail"})
		top["definitions"] = object{"jail": jail}
		out = top
	case JailFile:
		jail := s.table(MainFile, "jail.NAME")
		jail.properties()["action"] = named(s.table(MainFile, "jail.NAME.action.ACTION"))
		out = jail
	case FilterFile:
		top := s.table(FilterFile, "")
		p := top.properties()
		p["prefix"], p["client"] = named(object{"type": "string"}), named(object{"type": "string"})
		p["mode"] = named(s.table(FilterFile, "mode.MODE"))
		p["sample"] = object{"type": "array", "items": s.table(FilterFile, "sample")}
		json := s.table(FilterFile, "json")
		json.properties()["match"] = object{"type": "array", "items": object{"type": "object", "minProperties": 1}}
		p["json"] = json
		out = top
	}
	out["$schema"] = "http://json-schema.org/draft-07/schema#"
	out["title"] = file
	return out
}

type object map[string]any

func (o object) properties() object { return o["properties"].(object) }

// named is a table whose keys are anybody's names.
func named(of object) object { return object{"type": "object", "additionalProperties": of} }

type schemaOf struct{ keys []Key }

// table describes one table; keys like ban.prefix4 are in tables of their own.
func (s schemaOf) table(file, name string) object {
	out := object{"type": "object", "additionalProperties": false, "properties": object{}}
	for _, k := range s.keys {
		if k.File != file || k.Table != name || openKeys(k.Name) {
			continue
		}
		in, key := out.properties(), k.Name
		if outer, inner, ok := strings.Cut(k.Name, "."); ok && outer != "bantime" { // those are written in quotes
			if in[outer] == nil {
				in[outer] = object{"type": "object", "additionalProperties": false, "properties": object{}}
			}
			in, key = in[outer].(object).properties(), inner
		}
		in[key] = schemaOfKey(k)
	}
	return out
}

func schemaOfKey(k Key) object {
	one := object{"type": []string{"string", "integer"}}
	v := object{}
	switch k.Type {
	case typeText:
		v["type"] = "string"
		if k.Values != nil && k.Name != "loglevel" { // which can be written in small letters, and as a number
			v["enum"] = k.Values
		}
	case typeTexts:
		v["anyOf"] = []object{one, {"type": "array", "items": one}}
	case typeExpressions:
		weighed := object{
			"type": "object", "additionalProperties": false, "required": []string{"regex"},
			"properties": object{"regex": object{"type": "string"}, "weight": object{"type": "integer", "minimum": 1, "maximum": WeightMost}},
		}
		v["anyOf"] = []object{one, weighed, {"type": "array", "items": object{"anyOf": []object{one, weighed}}}}
	case typeTime, typeValue:
		v["type"] = []string{"string", "number"}
	case typeBoolean:
		v["type"] = "boolean"
	case typeNumber:
		v["type"] = "integer"
	case typeTable:
		v["type"], v["additionalProperties"] = "object", object{"type": "string"}
	}
	v["description"] = k.Text
	if k.Default != "" {
		v["description"] = k.Text + " Default: " + k.Default + "."
	}
	return v
}
