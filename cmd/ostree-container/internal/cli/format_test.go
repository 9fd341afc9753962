package cli

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// The values are what g_format_size of GLib 2.74 gave.
func TestFormatSize(t *testing.T) {
	t.Parallel()
	for n, want := range map[uint64]string{
		0:                          "0 bytes",
		1:                          "1 byte",
		2:                          "2 bytes",
		999:                        "999 bytes",
		1000:                       "1.0\u00a0kB",
		1049:                       "1.0\u00a0kB",
		1050:                       "1.1\u00a0kB",
		4504:                       "4.5\u00a0kB",
		999_949:                    "999.9\u00a0kB",
		999_999:                    "1000.0\u00a0kB",
		1_000_000:                  "1.0\u00a0MB",
		684_512_345:                "684.5\u00a0MB",
		1_073_741_824:              "1.1\u00a0GB",
		1_000_000_000_000:          "1.0\u00a0TB",
		1_000_000_000_000_000:      "1.0\u00a0PB",
		999_999_999_999_999_999:    "1000.0\u00a0PB",
		18_446_744_073_709_551_615: "18.4\u00a0EB",
	} {
		assert.Equal(t, want, formatSize(n), "%d", n)
	}
	assert.Equal(t, "unknown size", formatCount(-1))
}

func TestB32_TruncateCutsCharacters(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "Größe", truncate("Größe und mehr", 5))
	assert.Equal(t, "日本", truncate("日本語", 2))
	assert.Equal(t, "日本語", truncate("日本語", 3))
	assert.Empty(t, truncate("x", 0))
	assert.Equal(t, "sha256:0123456789ab", shortDigest("sha256:0123456789abcdef"))
}

func TestOneLine(t *testing.T) {
	t.Parallel()
	assert.Equal(t, `a b c\x1b[31m ü`, oneLine("a\nb\tc\x1b[31m ü\n"))
	assert.Equal(t, `\x7f\x9b`, oneLine("\x7f\u009b"))
	for r, want := range map[rune]string{
		0x061c: `\u061c`, 0x200e: `\u200e`, 0x200f: `\u200f`, 0x202a: `\u202a`, 0x202e: `\u202e`, 0x2066: `\u2066`, 0x2069: `\u2069`,
		0x2028: `\u2028`, 0x2029: `\u2029`, 0x200b: `\u200b`, 0xfeff: `\ufeff`, 0xad: `\xad`, 0xe0041: `\U000e0041`, 0x85: `\x85`,
		'é': "é", '日': "日", 'ע': "ע", 0xa0: "\u00a0", '😀': "😀",
	} {
		assert.Equal(t, "a"+want+"b", oneLine("a"+string(r)+"b"))
		assert.Equal(t, " a"+want+"b\n c", lines(" a"+string(r)+"b\n c"))
		// JSON and YAML escape them, too, and mean the same.
		var text bytes.Buffer
		doc := map[string]string{"x": "a" + string(r) + "b"}
		require.NoError(t, json.NewEncoder(jsonOutput{w: &text}).Encode(doc))
		inYAML, err := yamlOf(doc)
		require.NoError(t, err)
		for name, out := range map[string][]byte{"json": text.Bytes(), "yaml": inYAML} {
			if strings.HasPrefix(want, `\`) {
				assert.NotContains(t, string(out), string(r), name)
			}
			got := map[string]string{}
			require.NoError(t, map[string]func([]byte, any) error{"json": json.Unmarshal, "yaml": yaml.Unmarshal}[name](out, &got))
			assert.Equal(t, doc, got, "%s: %s", name, out)
		}
	}
}

// What a joiner of no width has a part in comes out to the byte; where it would only be there unseen it is escaped.
func TestOneLineOfJoinedText(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"é", "ñ", "日本", "👩\u200d💻", "👩🏽\u200d💻", "🏳\ufe0f\u200d🌈", "🙂\u200d↔\ufe0f", "می\u200cخواهم", "क्\u200dष", "ක්\u200dෂ", "\u0600١", "\u06dd",
	} {
		assert.Equal(t, text, oneLine(text))
		assert.Equal(t, "a "+text+" b", oneLine("a "+text+" b"))
	}
	for text, want := range map[string]string{
		"a\u200db": `a\u200db`, "é\u200cé": `é\u200cé`, "\u200d💻": `\u200d💻`, "👩\u200d": `👩\u200d`, "👩\u200d\u200d💻": `👩\u200d\u200d💻`, "а\u200dб": `а\u200dб`,
		"👩\u200da": `👩\u200da`, "می\u200b\u200cخ": `می\u200b\u200cخ`,
	} {
		assert.Equal(t, want, oneLine(text))
	}
}

// A text of several lines is one in YAML too, unless something in it has to be escaped.
func TestYAMLOfLines(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"[origin]\nx=ü\n": "x: |\n  [origin]\n  x=ü\n", "a\nb\tc\u202e\n": `x: "a\nb\tc\u202e\n"` + "\n",
	} {
		out, err := yamlOf(map[string]string{"x": text})
		require.NoError(t, err)
		assert.Equal(t, want, string(out))
	}
}

func TestJSONTime(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 4, 4, 5, 6_000_000, time.FixedZone("", 3600))
	assert.Equal(t, "2026-01-02T03:04:05.006Z", jsonTime(&at).String())
	assert.Nil(t, jsonTime(nil))
}
