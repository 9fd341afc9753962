// Package journal writes structured entries to the journal of systemd, in its native protocol (systemd's document "Native Journal
// Protocol"): one datagram each, to a socket.
package journal

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// Socket is where the journal of a host listens.
const Socket = "/run/systemd/journal/socket"

// sendTimeout is how long a journal that does not read is waited for.
const sendTimeout = 2 * time.Second

// maxField is how many bytes of a value are written; the rest is cut off. A datagram of a few such fields still fits a socket's buffer.
const maxField = 8 << 10

// Priority is how urgent an entry is: a level of syslog(3), of which those used here have names.
type Priority int

// Priorities.
const (
	Error   Priority = 3
	Warning Priority = 4
	Info    Priority = 6
)

// Identifier is the SYSLOG_IDENTIFIER of all entries.
const Identifier = "ostree-container"

// ErrField is returned for a field whose name the journal would drop, and for an ID that is not 32 lower-case hex digits.
var ErrField = errors.New("invalid field of a journal entry")

// Field is one more of an entry. Name is of A-Z, 0-9 and _, begins with a letter, and has at most 64 characters; Value may hold anything, and is
// cut after 8 KiB.
type Field struct{ Name, Value string }

// Entry is one message.
type Entry struct {
	ID       string   // MESSAGE_ID: 128 bits as 32 lower-case hex digits
	Message  string   // for people
	Priority Priority // the zero value is the highest, an emergency
	Fields   []Field  // those with an empty value are left out
}

// Send writes an entry to the journal that listens at a socket, such as Socket. It waits two seconds at most. It returns ErrField; where there is
// no socket, as in a container, the error matches fs.ErrNotExist. Safe for concurrent use.
func Send(ctx context.Context, socket string, e *Entry) (err error) {
	data, err := e.encode()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unixgram", socket)
	if err != nil {
		return fmt.Errorf("write to the journal: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	deadline, _ := ctx.Deadline() // there is one
	if err := conn.SetWriteDeadline(deadline); err != nil {
		return fmt.Errorf("write to the journal: %w", err)
	}
	if _, err := conn.Write(data); err != nil {
		return fmt.Errorf("write to the journal: %w", err)
	}
	return nil
}

func (e *Entry) encode() ([]byte, error) {
	if len(e.ID) != 32 || strings.Trim(e.ID, "0123456789abcdef") != "" {
		return nil, fmt.Errorf("%w: MESSAGE_ID %q", ErrField, e.ID)
	}
	var b bytes.Buffer
	fields := append([]Field{
		{"MESSAGE", e.Message}, {"MESSAGE_ID", e.ID}, {"PRIORITY", strconv.Itoa(int(e.Priority))}, {"SYSLOG_IDENTIFIER", Identifier},
	}, e.Fields...)
	for _, f := range fields {
		if !validName(f.Name) {
			return nil, fmt.Errorf("%w: name %q", ErrField, f.Name)
		}
		value := f.Value[:min(len(f.Value), maxField)]
		b.WriteString(f.Name)
		switch {
		case value == "":
			b.Truncate(b.Len() - len(f.Name))
		case strings.Contains(value, "\n"): // with its length, so that no line of it is taken for a field
			b.WriteByte('\n')
			b.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(value))))
			b.WriteString(value + "\n")
		default:
			b.WriteString("=" + value + "\n")
		}
	}
	return b.Bytes(), nil
}

func validName(name string) bool {
	return name != "" && len(name) <= 64 && name[0] >= 'A' && name[0] <= 'Z' &&
		strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == ""
}
