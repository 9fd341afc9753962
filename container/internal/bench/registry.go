package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// registry is Debian's docker-registry on a loopback port.
type registry struct {
	addr string // HOST:PORT
	cmd  *exec.Cmd
}

func startRegistry(ctx context.Context, cache string) (*registry, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &registry{addr: l.Addr().String()}
	if err := l.Close(); err != nil {
		return nil, err
	}
	config := filepath.Join(cache, "registry.yml")
	text := fmt.Sprintf("version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n    rootdirectory: %s\nhttp:\n  addr: %s\n",
		filepath.Join(cache, "registry"), r.addr)
	if err := writeFile(config, []byte(text)); err != nil {
		return nil, err
	}
	logfile, err := os.Create(filepath.Join(cache, "registry.log"))
	if err != nil {
		return nil, err
	}
	defer logfile.Close()
	r.cmd = exec.Command("docker-registry", "serve", config)
	r.cmd.Stdout, r.cmd.Stderr = logfile, logfile
	if err := r.cmd.Start(); err != nil {
		return nil, err
	}
	for range 100 {
		if err = r.do(ctx, http.MethodGet, "/v2/", "", nil); err == nil {
			return r, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return nil, errors.Join(fmt.Errorf("docker-registry does not answer, see %s: %w", logfile.Name(), err), r.stop())
}

func (r *registry) stop() error {
	if err := r.cmd.Process.Kill(); err != nil {
		return err
	}
	_ = r.cmd.Wait() // "signal: killed"
	return nil
}

// do sends a request; anything but 2xx is an error. The body of the answer is dropped.
func (r *registry) do(ctx context.Context, method, path, mediaType string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+r.addr+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if mediaType != "" {
		req.Header.Set("Content-Type", mediaType)
		req.Header.Set("Accept", mediaType)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s", method, path, resp.Status)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// push makes sure that the registry has the image of a layout.
func (r *registry) push(ctx context.Context, l *layout, kind, version string) error {
	name := "/v2/bench/" + kind + "/manifests/" + l.Digest.String()
	if r.do(ctx, http.MethodHead, name, ocispec.MediaTypeImageManifest, nil) != nil {
		logf("pushing %s %s", kind, version)
		_, err := output(exec.CommandContext(ctx, "skopeo", "copy", "--quiet", "--preserve-digests", "--dest-tls-verify=false",
			"oci:"+l.dir, "docker://"+r.image(kind, version)))
		if err != nil {
			return err
		}
	}
	return r.tag(ctx, l, kind, version)
}

func (r *registry) image(kind, tag string) string { return r.addr + "/bench/" + kind + ":" + tag }

// tag makes tag name the image of a layout, which must have been pushed.
func (r *registry) tag(ctx context.Context, l *layout, kind, tag string) error {
	return r.do(ctx, http.MethodPut, "/v2/bench/"+kind+"/manifests/"+tag, ocispec.MediaTypeImageManifest, l.Raw)
}

// transfer fetches what l has and old has not and returns the seconds that took.
func (r *registry) transfer(ctx context.Context, l, old *layout, kind string) (float64, error) {
	have := map[string]bool{}
	for _, d := range old.Manifest.Layers {
		have[d.Digest.String()] = true
	}
	start := time.Now()
	for _, d := range l.Manifest.Layers {
		if !have[d.Digest.String()] {
			if err := r.do(ctx, http.MethodGet, "/v2/bench/"+kind+"/blobs/"+d.Digest.String(), "", nil); err != nil {
				return 0, err
			}
		}
	}
	return time.Since(start).Seconds(), nil
}
