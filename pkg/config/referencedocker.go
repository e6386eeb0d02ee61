package config

import "reflect"

// dockerTable explains what is read from a container engine.
var dockerTable = refTable{
	MainFile, "docker", reflect.TypeFor[rawDocker](), nil, []keyWords{
		{
			name:    "socket",
			def:     "unix:///run/docker.sock",
			example: `socket = "unix:///run/podman/podman.sock"`,
			text:    "The socket of the engine that jails with backend = \"docker\" ask: docker's, or podman's (podman.socket).",
		},
	},
}
