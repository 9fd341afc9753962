package testimage

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Daemon is a docker daemon with a socket and data of its own.
type Daemon struct {
	Host   string // "unix:///DIR/docker.sock"
	client *http.Client
}

// NewDaemon starts Debian's dockerd, without a network, until the test ends. It takes root.
func NewDaemon(t testing.TB) *Daemon {
	t.Helper()
	NeedRoot(t)
	NeedTool(t, "dockerd", "skopeo")
	dir, err := os.MkdirTemp("", "dockerd") // a socket's path has to be short
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "docker.sock")
	cmd := exec.Command("dockerd", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false", "--bridge=none",
		"--storage-driver=vfs", "--host=unix://"+socket, "--data-root="+dir+"/data", "--exec-root="+dir+"/exec", "--pidfile="+dir+"/pid")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	d := &Daemon{Host: "unix://" + socket, client: unixClient(socket)}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt) // it ends its containerd
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(out.String())
		}
		// In a tree whose mounts are private the daemon mounts its data onto itself, and does not always take that away.
		_ = unix.Unmount(filepath.Join(dir, "data"), unix.MNT_DETACH)
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove dockerd's data: %v", err)
		}
	})
	for start := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		if res, err := d.client.Get("http://docker/_ping"); err == nil {
			_ = res.Body.Close()
			return d
		} else if time.Since(start) > 30*time.Second {
			t.Fatalf("dockerd: %v\n%s", err, out.String())
		}
	}
}

// Copy brings an image into the daemon with skopeo; name has a tag.
func (d *Daemon) Copy(t testing.TB, from, name string) {
	t.Helper()
	Run(t, "skopeo", "--insecure-policy", "copy", "--quiet", "--dest-daemon-host", d.Host, from, "docker-daemon:"+name)
}

func unixClient(socket string) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
}

// NewFakeDaemon serves the part of docker's API that reading an image takes, with what save answers to "GET
// /images/NAME/get": for archives that no daemon would give out, and for broken connections.
func NewFakeDaemon(t testing.TB, save http.HandlerFunc) (host string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "dockerd")
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "docker.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/_ping", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Api-Version", "1.41")
		w.Header().Set("Ostype", "linux")
		_, _ = w.Write([]byte("OK"))
	})
	mux.HandleFunc("/", save)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
		_ = os.RemoveAll(dir)
	})
	return "unix://" + socket
}
