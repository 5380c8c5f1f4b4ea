// The CNI plugins of the built-in networks, in one executable: each is a whole Go runtime otherwise, and every pod's
// image carries them. It is the plugin that it is called as. xtask/src/net_plugins.rs builds it.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	hostlocal "rkt/net-plugins/host-local"
	"rkt/net-plugins/ptp"
)

func main() {
	name := filepath.Base(os.Args[0])
	switch name {
	case "host-local":
		hostlocal.Main()
	case "ptp":
		ptp.Main()
	default:
		fmt.Fprintf(os.Stderr, "%q is no CNI plugin of rkt\n", name)
		os.Exit(1)
	}
}
