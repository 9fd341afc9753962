package cli

import (
	"os"
	"runtime/debug"
)

// Memory in use, in bytes, from which on the garbage collector works. They are no bounds: an import of any image needs less than the
// first, but leaves more than that to be collected. What is compressed on all processors needs nearly that for its buffers; with
// no more to spare the collector costs a fifth of the time.
const (
	memoryGoal            = 48 << 20
	compressingMemoryGoal = 64 << 20
)

// aimAt sets the goal, unless the user has set one. Below it nothing is collected: most commands end before it is reached.
func (a *app) aimAt(goal int64) {
	if !a.ownsProcess || os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	debug.SetMemoryLimit(goal)
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(-1)
	}
}
