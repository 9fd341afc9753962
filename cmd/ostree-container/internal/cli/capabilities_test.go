package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Every test that docs/capabilities.md names is there, in a file that its row names, and each of the reference's faults has one with its number.
func TestCapabilitiesAreTested(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..", "..", "..")
	text, err := os.ReadFile(filepath.Join(root, "docs/capabilities.md"))
	require.NoError(t, err)
	names, files := regexp.MustCompile("`(Test[^`]*)`"), regexp.MustCompile("`([^`]*_test\\.go)`")
	faults := map[string]bool{}
	rows := 0
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|---") || strings.TrimSpace(cells[len(cells)-1]) == "file" {
			continue
		}
		rows++
		last := len(cells) - 1
		var source string
		for _, m := range files.FindAllStringSubmatch(cells[last], -1) {
			path := m[1]
			switch {
			case strings.HasPrefix(path, "cli/"):
				path = "cmd/ostree-container/internal/" + path
			case !strings.HasPrefix(path, "cmd/") && !strings.HasPrefix(path, "ostree/"):
				path = "container/" + path
			}
			data, err := os.ReadFile(filepath.Join(root, path))
			if assert.NoError(t, err, line) {
				source += string(data)
			}
		}
		tests := names.FindAllStringSubmatch(cells[last-1], -1)
		assert.NotEmpty(t, tests, line)
		for _, m := range tests {
			test, sub, _ := strings.Cut(m[1], "/")
			assert.Contains(t, source, "func "+test+"(t *testing.T)", line)
			if sub != "" {
				assert.Contains(t, source, `"`+sub+`"`, line)
			}
			if number := strings.TrimSpace(cells[0]); strings.HasPrefix(number, "B") && last == 3 {
				faults[number] = true
				assert.Regexp(t, `(Test|_|/)`+number+`(_|$| )`, m[1], line)
			}
		}
	}
	assert.Greater(t, rows, 120)
	for n := 1; n <= 52; n++ {
		assert.Contains(t, faults, fmt.Sprintf("B%d", n))
	}
}
