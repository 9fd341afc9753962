package cli

import (
	"math"
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
func (a *app) aimAt(goal int64) { a.collect(goal, -1) }

// aimAtNothing is for what keeps more than any goal while it runs, in proportion to its output: with a goal far below that the collector would
// work all the time.
func (a *app) aimAtNothing() { a.collect(math.MaxInt64, 100) }

// collect sets what GOMEMLIMIT and GOGC set, unless the user has.
func (a *app) collect(limit int64, percent int) {
	if !a.ownsProcess || os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	debug.SetMemoryLimit(limit)
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(percent)
	}
}
