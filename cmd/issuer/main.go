// Command issuer is Sallyport's first door: it checks who you are, hands out tokens, and writes the
// revocation log.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/sallyport/sallyport/internal/daemon"
)

// version is set by the build.
var version = ""

func main() {
	ctx, stop := daemon.Signals(context.Background())
	err := newCommand().ExecuteContext(ctx)
	stop()
	if err != nil {
		if !daemon.Told(err) {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1)
	}
}
