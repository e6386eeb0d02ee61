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
		{
			name:    "labels",
			def:     "false",
			example: `labels = true`,
			text:    "Whether containers may enable a jail by a label: one with bailiff.jail=NAME is read by a jail of its own, docker-CONTAINER, which is as jail NAME is configured, or the filter of that name (docs/containers.md). It shuts the ports that the container publishes, and runs no command. No label changes another jail.",
		},
		{
			name:    "port",
			def:     "the ones that the container publishes",
			example: "labels = true\nport = [\"80\", \"443\"]",
			text:    "The ports that jails of labels shut, in place of those that the container publishes.",
		},
		{
			name:    "maxretry",
			def:     "none",
			example: "labels = true\nmaxretry = \"3-10\"",
			text:    "From what to what the label bailiff.maxretry may set maxretry in its container's jail. What is beyond is taken for the nearest of them; without a range the label has no effect. Both are logged.",
		},
		{
			name:    "findtime",
			def:     "none",
			example: "labels = true\nfindtime = \"5m-1h\"",
			text:    "From what to what the label bailiff.findtime may set findtime, as maxretry has it.",
		},
		{
			name:    "bantime",
			def:     "none",
			example: "labels = true\nbantime = \"10m-7d\"",
			text:    "From what to what the label bailiff.bantime may set bantime, as maxretry has it. A ban for ever (-1) is taken for the longest.",
		},
	},
}
