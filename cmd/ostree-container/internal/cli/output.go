package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// output is standard output. Once a write has failed nothing more is written; what is under way goes on.
type output struct {
	mu      sync.Mutex
	w       io.Writer
	err     error
	console *console // not nil: both are terminals, so bars are in the way of each other's lines
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.console != nil && o.console.writeAbove(p) {
		return len(p), nil
	}
	if o.err == nil {
		_, o.err = o.w.Write(p)
	}
	return len(p), nil
}

// result returns the error of the first write that failed. That the reader went away is none.
func (o *output) result() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil || errors.Is(o.err, unix.EPIPE) {
		return nil
	}
	return fmt.Errorf("write standard output: %w", o.err)
}

// wholeOutput is standard output of a command whose output is all of its work: it ends with the first write that fails, also if the
// reader went away.
type wholeOutput struct{ *output }

func (o wholeOutput) Write(p []byte) (int, error) {
	n, _ := o.output.Write(p) // has no error of its own
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return 0, fmt.Errorf("write standard output: %w", o.err)
	}
	return n, nil
}

// console is standard error. While bars are shown on it, lines are printed above them.
type console struct {
	mu    sync.Mutex
	w     io.Writer
	above io.Writer // nil: no bars
}

func (c *console) Write(p []byte) (int, error) {
	if !c.writeAbove(p) {
		_, _ = c.w.Write(p) // there is nowhere left to report it
	}
	return len(p), nil
}

// writeAbove prints lines above the bars, if there are any.
func (c *console) writeAbove(p []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.above == nil {
		return false
	}
	_, err := c.above.Write(p)
	return err == nil
}

func (c *console) setAbove(w io.Writer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.above = w
}

// isTerminal reports whether w is a terminal that can show bars. A serial console that does not know its size cannot.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" {
		return false
	}
	width, height, err := term.GetSize(int(f.Fd()))
	return err == nil && width > 0 && height > 0
}

// terminalWidth returns the columns of w, 0 if it is no terminal.
func terminalWidth(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return width
}

// warn prints a line to standard error.
func (a *app) warn(format string, args ...any) {
	fmt.Fprintf(a.err, "warning: %s\n", oneLine(fmt.Sprintf(format, args...)))
}

// logHandler prints log records of libraries as the lines that people read: "warning: message: key=value ...".
type logHandler struct {
	w     io.Writer
	level slog.Leveler
	attrs string
}

func (h *logHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.level.Level()
}

func (h *logHandler) Handle(_ context.Context, r slog.Record) error {
	attrs := h.attrs
	r.Attrs(func(attr slog.Attr) bool {
		attrs += formatAttr(attr)
		return true
	})
	prefix := ""
	switch {
	case r.Level >= slog.LevelWarn: // an error here did not stop the command: only its last line is "error:"
		prefix = "warning: "
	case r.Level < slog.LevelInfo:
		prefix = "debug: "
	}
	_, err := fmt.Fprintf(h.w, "%s%s%s\n", prefix, oneLine(r.Message), attrs)
	return err
}

func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	n := *h
	for _, attr := range attrs {
		n.attrs += formatAttr(attr)
	}
	return &n
}

// WithGroup is not used by our packages: a group only prefixes keys.
func (h *logHandler) WithGroup(string) slog.Handler { return h }

func formatAttr(attr slog.Attr) string {
	text := oneLine(attr.Value.Resolve().String())
	if text == "" || strings.ContainsAny(text, " \"") {
		text = fmt.Sprintf("%q", text)
	}
	return " " + attr.Key + "=" + text
}

// printJSON writes v to standard output as one indented document.
func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(jsonOutput{w: a.out})
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// list is a slice that JSON shows as an empty list rather than null.
func list[T any](items []T) []T {
	if items == nil {
		return []T{}
	}
	return items
}

// printJSONLine writes v to standard output as one line.
func (a *app) printJSONLine(v any) error {
	enc := json.NewEncoder(jsonOutput{w: a.out})
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// checkDir fails if the directory of an output file is missing, or there is a directory in its place, before the work begins whose
// result goes there.
func checkDir(option, path string) error {
	if path == "" {
		return nil
	}
	if _, err := os.Stat(filepath.Dir(path)); err != nil {
		return fmt.Errorf("%s: %w", option, err)
	}
	if st, err := os.Stat(path); err == nil && st.IsDir() {
		return fmt.Errorf("%s: %w", option, &os.PathError{Op: "write", Path: path, Err: unix.EISDIR})
	}
	return nil
}

// writeFile replaces a file as a whole: whoever reads it sees the old content or all of the new one. Anything but a
// regular file, such as a pipe, is written to.
func writeFile(ctx context.Context, path string, data []byte) (err error) {
	if st, err := os.Stat(path); err == nil && !st.Mode().IsRegular() {
		_, err := unlessDone(ctx, 0, func() (int, error) { return 0, os.WriteFile(path, data, 0o644) }) // nobody may read it
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		// The message names the file that was asked for.
		var pathErr *os.PathError
		if errors.As(err, &pathErr) {
			return &os.PathError{Op: "create", Path: path, Err: pathErr.Err}
		}
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(tmp.Name())
		}
	}()
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Chmod(0o644), tmp.Close())
	if err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
