// Command ostree-container brings container images into OSTree repositories and deploys them. It is also what
// "ostree container ..." runs. The commands are in package cli; docs/cli.md describes what they print.
package main

import (
	"os"

	"github.com/ostree-container/ostree-container/cmd/ostree-container/internal/cli"
	"github.com/ostree-container/ostree-container/container/registry"
)

// version is set by the linker: -X main.version=VERSION.
var version = "unknown"

func main() {
	if registry.ReexecInit() {
		return
	}
	os.Exit(cli.Main(version))
}
