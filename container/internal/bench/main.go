package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options of a run.
type options struct {
	cache, ours, judge, work, json, doc string
	runs                                int
	kinds, tools, steps                 []string
}

func run(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	var o options
	fs.StringVar(&o.cache, "cache", "/var/cache/ostree-container/bench", "packages, images and registry")
	fs.StringVar(&o.work, "work", "", "repositories are made in this `directory` (default CACHE/work)")
	fs.StringVar(&o.ours, "ours", "bin/ostree-container", "the program to measure")
	fs.StringVar(&o.judge, "judge", "/var/cache/ostree-container/judge/target/release/judge", "ostree-ext, as make judge builds it")
	fs.StringVar(&o.json, "json", "", "results (default CACHE/results.json)")
	fs.StringVar(&o.doc, "doc", "", "put the tables into this `file`, between its bench markers")
	fs.IntVar(&o.runs, "runs", 3, "`times` that everything is measured")
	kindList := fs.String("kinds", strings.Join(kinds, ","), "images")
	toolList := fs.String("tools", strings.Join(tools, ","), "what is measured")
	stepList := fs.String("steps", strings.Join(steps, ","), "work to measure")
	verb := ""
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		verb, args = args[0], args[1:]
	}
	if err := fs.Parse(args); err != nil {
		return err
	}
	if o.work == "" {
		o.work = filepath.Join(o.cache, "work")
	}
	if o.json == "" {
		o.json = filepath.Join(o.cache, "results.json")
	}
	o.kinds, o.tools, o.steps = strings.Split(*kindList, ","), strings.Split(*toolList, ","), strings.Split(*stepList, ",")
	switch verb {
	case "images":
		return makeImages(ctx, o.cache, o.judge, o.kinds)
	case "table":
		return table(o)
	case "curve":
		return measureCurve(ctx, o)
	case "":
		if os.Geteuid() != 0 {
			return fmt.Errorf("a bare repository needs root")
		}
		if err := makeImages(ctx, o.cache, o.judge, o.kinds); err != nil {
			return err
		}
		return measureAll(ctx, o)
	}
	return fmt.Errorf("unknown verb %q: images, table, curve or none", verb)
}
