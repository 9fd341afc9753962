package keyfile_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/keyfile"
)

func TestParseErrors(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, in string
		line     int
		is       []error
		isNot    []error
		text     string
	}{
		{"key before group", "# c\n\nk=v\n", 3, []error{keyfile.ErrParse, keyfile.ErrGroupNotFound}, nil,
			`line 3: key before the first group: "k=v"`},
		{"no equals sign", "[g]\nword\n", 2, []error{keyfile.ErrParse}, []error{keyfile.ErrGroupNotFound},
			`line 2: neither a key and value, nor a group, nor a comment: "word"`},
		{"nothing before equals sign", "[g]\n=v\n", 2, []error{keyfile.ErrParse}, nil,
			`line 2: neither a key and value, nor a group, nor a comment: "=v"`},
		{"open group", "[g\n", 1, []error{keyfile.ErrParse}, nil,
			`line 1: neither a key and value, nor a group, nor a comment: "[g"`},
		{"empty group", "[]\n", 1, []error{keyfile.ErrParse}, nil, `line 1: invalid group name: "[]"`},
		{"control character in group", "[g]\n\n[a\tb]\n", 3, []error{keyfile.ErrParse}, nil, `line 3: invalid group name: "[a\tb]"`},
		{"text behind group", "[g] # no\n", 1, []error{keyfile.ErrParse}, nil,
			`line 1: neither a key and value, nor a group, nor a comment: "[g] # no"`},
		{"bracket in key", "[g]\na]=1\n", 2, []error{keyfile.ErrParse}, nil, `line 2: invalid key name: "a]=1"`},
		{"open locale", "[g]\na[de=1\n", 2, []error{keyfile.ErrParse}, nil, `line 2: invalid key name: "a[de=1"`},
		{"space before locale", "[g]\na [de]=1\n", 2, []error{keyfile.ErrParse}, nil, `line 2: invalid key name: "a [de]=1"`},
		{"slash in locale", "[g]\na[d/e]=1\n", 2, []error{keyfile.ErrParse}, nil, `line 2: invalid key name: "a[d/e]=1"`},
		{"encoding", "[g]\r\nEncoding=latin1\r\n", 2, []error{keyfile.ErrParse, keyfile.ErrUnknownEncoding}, nil,
			`line 2: unsupported encoding: "Encoding=latin1"`},
		{"NUL", "[g]\n# a\x00b\n", 2, []error{keyfile.ErrParse}, nil, `line 2: NUL byte: "# a\x00b"`},
		{"byte order mark", "\ufeff[g]\n", 1, []error{keyfile.ErrParse}, nil, `line 1: byte order mark: "\ufeff[g]"`},
		{"long line is cut", "[0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890", 1,
			[]error{keyfile.ErrParse}, nil,
			`line 1: neither a key and value, nor a group, nor a comment: "[0123456789012345678901234567890123456789012345678901234567890123456789012345678"...`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f, err := keyfile.Parse([]byte(tt.in))
			assert.Nil(t, f)
			var pe *keyfile.ParseError
			require.ErrorAs(t, err, &pe)
			assert.Equal(t, tt.line, pe.Line)
			assert.Equal(t, tt.text, err.Error())
			for _, target := range tt.is {
				assert.ErrorIs(t, err, target)
			}
			for _, target := range tt.isNot {
				assert.NotErrorIs(t, err, target)
			}
		})
	}
}
