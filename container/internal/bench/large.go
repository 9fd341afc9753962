package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/gzip"
	"golang.org/x/sync/errgroup"
)

// kindLarge is the derived image ten times over: as many layers, each with ten times the files and bytes, all different.
// Only its layout is made (10 GB), and only on demand; it is for "-kinds large -steps oci -tools ours".
const (
	kindLarge = "large"
	copies    = 10
)

func makeLarge(ctx context.Context, cache string) error {
	dir := imageDir(cache, kindLarge, "v1")
	if exists(dir) {
		return nil
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(2)
	layers := make([]*builtLayer, len(groups)+1)
	for i := range layers {
		name := "app-v1"
		if i < len(groups) {
			name = groups[len(groups)-1-i].name
		}
		g.Go(func() (err error) {
			layers[i], err = buildLayer(gctx, cache, "large-"+name, gzip.BestSpeed, func(t *treeWriter) error {
				for n := range copies {
					if err := t.copyOf(gctx, filepath.Join(cache, "layers", name+".tar.gz"), n); err != nil {
						return err
					}
				}
				return nil
			})
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return newImage().write(cache, dir, nil, layers)
}

// copyOf writes the entries of a layer into a directory of their own, with other content.
func (t *treeWriter) copyOf(ctx context.Context, file string, n int) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	gz, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	t.change = func(name string) string {
		h := fnv.New64a()
		h.Write([]byte(name))
		return fmt.Sprintf("copy %d %016x\n", n, h.Sum64())
	}
	t.rename = func(name string) string { return fmt.Sprintf("usr/lib/copy%d/%s", n, strings.TrimSuffix(name, "/")) }
	for tr := tar.NewReader(gz); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return ctx.Err()
		}
		if err != nil {
			return err
		}
		if err := t.entry(h, tr, ""); err != nil {
			return err
		}
	}
}
