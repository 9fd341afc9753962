package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/gzip"
)

// A curve is pulled at growing sizes: cost has to grow with what there is to do, not faster.
type point struct {
	name                string
	layers, files, size int // files in each layer, bytes in each file
	update              bool
}

// Each row of a curve has ten times the layers, files or bytes of the one before.
var curve = []point{
	{name: "20 layers of 100 files", layers: 20, files: 100, size: 4 << 10},
	{name: "200 layers of 100 files", layers: 200, files: 100, size: 4 << 10},
	{name: "5,000 files", layers: 1, files: 5_000, size: 4 << 10},
	{name: "50,000 files", layers: 1, files: 50_000, size: 4 << 10},
	{name: "500,000 files", layers: 1, files: 500_000, size: 4 << 10, update: true},
	{name: "one file of 40 MB", layers: 1, files: 1, size: 40e6},
	{name: "one file of 400 MB", layers: 1, files: 1, size: 400e6},
	{name: "one file of 4 GB", layers: 1, files: 1, size: 4e9},
}

// measureCurve pulls each image of the curve from its layout, runs times, and prints a table.
func measureCurve(ctx context.Context, o options) error {
	b := &bench{options: o, images: map[string]map[string]*layout{}}
	if err := errors.Join(adoptOrphans(), b.makeWork(ctx)); err != nil {
		return err
	}
	fmt.Println("| image | objects | wall, s | CPU, s | peak, MiB |")
	fmt.Println("|---|--:|--:|--:|--:|")
	for _, p := range curve {
		if err := b.point(ctx, p); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

// point measures one image. Its last layer, of one small file, is what the update changes.
func (b *bench) point(ctx context.Context, p point) error {
	dir, err := b.fresh("curve", toolOurs)
	if err != nil {
		return err
	}
	defer func() { _ = remove(context.WithoutCancel(ctx), dir) }()
	if err := os.MkdirAll(filepath.Join(dir, "layers"), 0o755); err != nil {
		return err
	}
	var layers []*builtLayer
	for n := range p.layers {
		l, err := p.layer(ctx, dir, n)
		if err != nil {
			return err
		}
		layers = append(layers, l)
	}
	image := filepath.Join(dir, "image")
	tip := func(text string) error {
		last, err := buildLayer(ctx, dir, "tip-"+text, gzip.BestSpeed, func(t *treeWriter) error { return t.file("usr/share/tip", []byte(text)) })
		if err != nil {
			return err
		}
		return newImage().write(dir, image, nil, append(layers[:len(layers):len(layers)], last))
	}
	measured := func(name, repo string) error {
		before, err := countObjects(repo)
		if err != nil {
			return err
		}
		u, _, err := measure(ctx, b.pull(ctx, toolOurs, repo, "ostree-unverified-image:oci:"+image))
		if err != nil {
			return err
		}
		after, err := countObjects(repo)
		if err != nil {
			return err
		}
		fmt.Printf("| %s | %d | %.2f | %.2f | %.0f |\n", name, after-before, u.Wall, u.User+u.Sys, float64(u.TreeRSS)/(1<<20))
		return nil
	}
	if err := tip("one"); err != nil {
		return err
	}
	repo := filepath.Join(dir, "repo")
	if err := initRepo(ctx, repo); err != nil {
		return err
	}
	if err := measured(p.name, repo); err != nil || !p.update {
		return err
	}
	if err := tip("two"); err != nil {
		return err
	}
	return measured(p.name+", update of one file", repo)
}

// layer makes the n-th layer: files in directories of 100, of bytes that hardly compress.
func (p point) layer(ctx context.Context, dir string, n int) (*builtLayer, error) {
	const piece = 1 << 20
	return buildLayer(ctx, dir, fmt.Sprintf("layer-%d", n), gzip.BestSpeed, func(t *treeWriter) error {
		random := rand.NewChaCha8([32]byte{byte(n), byte(n >> 8)})
		for f := range p.files {
			content := make([]byte, min(p.size, piece))
			_, _ = random.Read(content) // never fails
			name := fmt.Sprintf("usr/share/layer%d/%d/%d", n, f/100, f)
			if p.size > piece { // the same megabyte again and again
				if err := t.repeated(name, content, p.size/piece); err != nil {
					return err
				}
			} else if err := t.file(name, content); err != nil {
				return err
			}
		}
		return nil
	})
}
