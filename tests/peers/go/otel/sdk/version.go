package main

import "runtime/debug"

// version is that of the log SDK, as the module file has it.
func version() string {
	info, _ := debug.ReadBuildInfo()
	for _, module := range info.Deps {
		if module.Path == "go.opentelemetry.io/otel/sdk/log" {
			return module.Version
		}
	}
	return "unknown"
}
