// Package cli is the command line of ostree-container: it parses arguments, calls package container and prints.
//
// Standard output holds results only, in the words of ostree-rs-ext's command line, so that programs which parse those
// keep working; progress, warnings and errors go to standard error. A failure is one line "error: A: B: C" and exit
// status 1, wrong usage is status 2, a signal is 128 and its number.
package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/container/registry"
	"github.com/ostree-container/ostree-container/ostree"
)

// Exit statuses.
const (
	exitFailure = 1
	exitUsage   = 2
	exitSignal  = 128 // and the number of the signal
)

// Streams are the standard files of a run.
type Streams struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
}

// Main runs the program with the arguments and files of the process and returns its exit status. SIGINT, SIGTERM and
// SIGHUP cancel what is under way; a second one ends the process at once.
func Main(version string) int {
	a := &app{version: version, enterMountNamespace: ostree.ReexecInMountNamespace, ownsProcess: true}
	a.aimAt(memoryGoal)
	if os.Getenv("GOMAXPROCS") == "" { // writes wait for the disk: one more keeps the processors busy
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	go func() {
		s := <-signals
		signal.Reset(unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
		cancel(&signalError{s.(syscall.Signal)}) //nolint:forcetypeassert // there are no others on Unix
	}()
	// A reader that goes away is no reason to die in the middle of an import. Unlike an ignored signal, a caught one
	// is not handed down to child processes.
	signal.Notify(make(chan os.Signal, 1), unix.SIGPIPE)

	return a.run(ctx, calledAs(os.Args), Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
}

// calledAs returns the arguments of a command line. The program may have the name of another command of libostree's, which a caller
// that is not the ostree command leaves out of them.
func calledAs(args []string) []string {
	if len(args) == 0 {
		return nil
	}
	name, ok := strings.CutPrefix(filepath.Base(args[0]), "ostree-")
	if args = args[1:]; !ok || name != "provisional-repair" || slices.Contains(args, name) {
		return args
	}
	return append([]string{name}, args...)
}

// Run runs one command line, without the name of the program, and returns the exit status. The process is left as it
// is: signals and mount namespaces are the business of Main.
func Run(ctx context.Context, version string, args []string, streams Streams) int {
	return (&app{version: version}).run(ctx, args, streams)
}

// app is one run of the program.
type app struct {
	version string
	in      io.Reader
	out     *output
	err     *console
	log     *slog.Logger
	level   slog.LevelVar
	// enterMountNamespace starts the process again in a mount namespace of its own where it needs one; nil: never.
	enterMountNamespace func() error
	// helpError is why help was asked for and not printed.
	helpError error
	// ownsProcess: what packages log for the whole process is this run's.
	ownsProcess bool
}

func (a *app) run(ctx context.Context, args []string, streams Streams) int {
	a.in, a.out, a.err = streams.In, &output{w: obedient(ctx, streams.Out)}, &console{w: obedient(ctx, streams.Err)}
	if isTerminal(streams.Out) && isTerminal(streams.Err) {
		a.out.console = a.err
	}
	a.level.Set(slog.LevelInfo)
	a.log = slog.New(&logHandler{w: a.err, level: &a.level})
	if a.ownsProcess {
		registry.RouteLogs(a.log)
	}

	root := a.rootCommand()
	root.SetArgs(args)
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		err = cmp.Or(a.helpError, a.out.result())
	}
	if err == nil {
		return 0
	}
	fmt.Fprintf(a.err, "error: %s\n", oneLine(withAdvice(err).Error()))
	var usage *usageError
	if errors.As(err, &usage) {
		fmt.Fprintf(a.err, "\nUsage: %s\n\nFor more information, try '--help'.\n", useLine(cmd))
		return exitUsage
	}
	var sig *signalError
	if errors.As(err, &sig) || errors.As(context.Cause(ctx), &sig) {
		return exitSignal + int(sig.signal)
	}
	return exitFailure
}

// usageError says that the arguments are wrong.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// signalError is why the context ended.
type signalError struct{ signal syscall.Signal }

func (e *signalError) Error() string { return "interrupted by " + unix.SignalName(e.signal) }

// Is makes it count as context.Canceled.
func (e *signalError) Is(target error) bool { return target == context.Canceled }
