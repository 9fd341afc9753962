package journal_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container/journal"
)

const id = "ff5efa1e345e41dcb451b8e839952b3c"

func listen(t *testing.T) (path string, conn *net.UnixConn) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "socket")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(time.Minute)))
	return path, conn
}

func receive(t *testing.T, conn *net.UnixConn) []byte {
	t.Helper()
	buf := make([]byte, 1<<20)
	n, err := conn.Read(buf)
	require.NoError(t, err)
	return buf[:n]
}

// decode reads a datagram as systemd's document has it.
func decode(t *testing.T, data []byte) map[string]string {
	t.Helper()
	fields := map[string]string{}
	for len(data) > 0 {
		line, rest, ok := bytes.Cut(data, []byte("\n"))
		require.True(t, ok, "ends in the middle of a field: %q", data)
		name, value, ok := bytes.Cut(line, []byte("="))
		if !ok {
			size := binary.LittleEndian.Uint64(rest)
			value, rest = rest[8:8+size], rest[8+size:]
			require.Equal(t, byte('\n'), rest[0])
			rest = rest[1:]
		}
		require.NotContains(t, fields, string(name))
		fields[string(name)] = string(value)
		data = rest
	}
	return fields
}

func TestSend(t *testing.T) {
	t.Parallel()
	path, conn := listen(t)
	require.NoError(t, journal.Send(t.Context(), path, &journal.Entry{
		ID: id, Message: "two\nlines", Priority: journal.Info,
		Fields: []journal.Field{
			{Name: "A_1", Value: "x=y"}, {Name: "EMPTY", Value: ""}, {Name: "FORGED", Value: "x\nMESSAGE_ID=0\nPRIORITY=0"}, {Name: "BYTES", Value: "\x00\xff\n"},
		},
	}))
	assert.Equal(t, map[string]string{
		"MESSAGE": "two\nlines", "MESSAGE_ID": id, "PRIORITY": "6", "SYSLOG_IDENTIFIER": "ostree-container",
		"A_1": "x=y", "FORGED": "x\nMESSAGE_ID=0\nPRIORITY=0", "BYTES": "\x00\xff\n",
	}, decode(t, receive(t, conn)))

	long := strings.Repeat("x", 1<<20)
	require.NoError(t, journal.Send(t.Context(), path, &journal.Entry{ID: id, Message: long, Fields: []journal.Field{{Name: "A", Value: long}}}))
	fields := decode(t, receive(t, conn))
	assert.Len(t, fields["MESSAGE"], 8<<10)
	assert.Len(t, fields["A"], 8<<10)
}

func TestSendRefuses(t *testing.T) {
	t.Parallel()
	path, _ := listen(t)
	for _, bad := range []string{"", id[1:], id + "0", strings.ToUpper(id), "g" + id[1:], "9e8d7c6b5a4f3e2d1c0b9a8f7e6d5c4b3"} {
		require.ErrorIs(t, journal.Send(t.Context(), path, &journal.Entry{ID: bad, Message: "x"}), journal.ErrField)
	}
	for _, name := range []string{"", "a", "_A", "1A", "A B", "A=", "A\n", strings.Repeat("A", 65)} {
		require.ErrorIs(t, journal.Send(t.Context(), path, &journal.Entry{ID: id, Fields: []journal.Field{{Name: name, Value: "x"}}}), journal.ErrField, name)
	}
	err := journal.Send(t.Context(), filepath.Join(t.TempDir(), "none"), &journal.Entry{ID: id, Message: "x"})
	require.ErrorContains(t, err, "write to the journal: ")
}

// A journal that does not read does not hold up anyone for long.
func TestSendDoesNotWaitForEver(t *testing.T) {
	t.Parallel()
	path, _ := listen(t)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	var err error
	for n := 0; err == nil && n < 10_000; n++ { // until its buffer is full
		err = journal.Send(ctx, path, &journal.Entry{ID: id, Message: strings.Repeat("x", 4096)})
	}
	require.Error(t, err)
	assert.Less(t, time.Since(start), time.Minute)
}

func ExampleSend() {
	_ = journal.Send(context.Background(), journal.Socket, &journal.Entry{
		ID: "ff5efa1e345e41dcb451b8e839952b3c", Message: "Deployed docker://quay.io/example/os:latest", Priority: journal.Info,
		Fields: []journal.Field{{Name: "OSTREE_CONTAINER_STATEROOT", Value: "default"}},
	})
	// Output:
}
