package keyfile_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/keyfile"
)

func TestEdit(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, in string
		edit     func(f *keyfile.File) error
		want     string
	}{
		{"new group in an empty file", "", func(f *keyfile.File) error { return f.SetString("g", "k", "v") }, "[g]\nk=v\n"},
		{"new group after a comment", "# c", func(f *keyfile.File) error { return f.SetString("g", "k", "v") }, "# c\n\n[g]\nk=v\n"},
		{"new group after a blank line", "[a]\nx=1\n\n", func(f *keyfile.File) error { return f.SetString("g", "k", "v") },
			"[a]\nx=1\n\n[g]\nk=v\n"},
		{"new group, CRLF, no final newline", "[a]\r\nx=1", func(f *keyfile.File) error { return f.SetString("g", "k", "v") },
			"[a]\r\nx=1\r\n\r\n[g]\r\nk=v\r\n"},
		{"value keeps blanks around the sign", "[g]\n  k\t= v # w\n", func(f *keyfile.File) error { return f.SetString("g", "k", "new") },
			"[g]\n  k\t= new\n"},
		{"value of the last line without newline", "[g]\nk=v", func(f *keyfile.File) error { return f.SetString("g", "k", "w") }, "[g]\nk=w"},
		{"the last of repeated keys changes", "[g]\nk=1\nk=2\n[h]\n[g]\nk=3\n",
			func(f *keyfile.File) error { return f.SetString("g", "k", "4") }, "[g]\nk=1\nk=2\n[h]\n[g]\nk=4\n"},
		{"new key in the last section that has keys", "[g]\na=1\n[h]\n[g]\nb=1\n# end\n[h]\n[g]\n",
			func(f *keyfile.File) error { return f.SetString("g", "k", "v") }, "[g]\na=1\n[h]\n[g]\nb=1\nk=v\n# end\n[h]\n[g]\n"},
		{"new key in a group without keys", "[g]\n# c\n[h]\n", func(f *keyfile.File) error { return f.SetString("g", "k", "v") },
			"[g]\nk=v\n# c\n[h]\n"},
		{"new key after a line that ends in a lone CR", "[g]\na=1\r", func(f *keyfile.File) error { return f.SetValue("g", "b", "2\r") },
			"[g]\na=1\r\r\nb=2\r\r\n"},
		{"remove the last key", "[g]\n# c\nk=v\n", func(f *keyfile.File) error { return f.RemoveKey("g", "k") }, "[g]\n# c\n"},
		{"remove all sections of a group", "# top\n[g]\na=1\n[h]\nx=1\n# above\n[g]\nb=1\n# inner\n\n",
			func(f *keyfile.File) error { return f.RemoveGroup("g") }, "# top\n[h]\nx=1\n# above\n"},
		{"key comment", "[g]\na=1\n# old\n# older\nk=v\n", func(f *keyfile.File) error { return f.SetComment("g", "k", " new\n lines") },
			"[g]\na=1\n# new\n# lines\nk=v\n"},
		{"group comment", "[g]\n\n[h]\n", func(f *keyfile.File) error { return f.SetComment("h", "", "x") }, "[g]\n\n#x\n[h]\n"},
		{"file comment", "[g]\r\n", func(f *keyfile.File) error { return f.SetComment("", "", " x") }, "# x\r\n\r\n[g]\r\n"},
		{"file comment replaced", "# a\n# b\n\n[g]\n", func(f *keyfile.File) error { return f.SetComment("", "", " x") }, "# x\n\n[g]\n"},
		{"comment of an empty file", "", func(f *keyfile.File) error { return f.SetComment("", "", " x") }, "# x\n"},
		{"remove a comment", "# top\n[g]\n# a\n\n# b\nk=v\n", func(f *keyfile.File) error { return f.RemoveComment("g", "k") },
			"# top\n[g]\n# a\n\nk=v\n"},
		{"numbers and booleans", "", func(f *keyfile.File) error {
			for _, err := range []error{
				f.SetBool("g", "b", true), f.SetInt("g", "i", -5), f.SetInt64("g", "i64", -1<<63), f.SetUint64("g", "u64", 1<<64-1),
				f.SetFloat64("g", "f", 0.1), f.SetBoolList("g", "bl", []bool{true, false}), f.SetIntList("g", "il", []int{1, -2}),
				f.SetFloat64List("g", "fl", []float64{1e20, 0.5}), f.SetStringList("g", "sl", []string{" a", "b;c", ""}),
				f.SetLocaleString("g", "s", "de", " x"), f.SetLocaleStringList("g", "ls", "de", []string{"a"}), f.SetStringList("g", "none", nil),
			} {
				if err != nil {
					return err
				}
			}
			return nil
		}, "[g]\nb=true\ni=-5\ni64=-9223372036854775808\nu64=18446744073709551615\nf=0.10000000000000001\nbl=true;false;\nil=1;-2;\n" +
			"fl=1e+20;0.5;\nsl=\\sa;b\\;c;;\ns[de]=\\sx\nls[de]=a;\nnone=\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f, err := keyfile.Parse([]byte(tt.in))
			require.NoError(t, err)
			c := f.Clone()
			require.NoError(t, tt.edit(c))
			assert.Equal(t, tt.want, string(c.Bytes()))
			assert.Equal(t, tt.in, string(f.Bytes()), "the original of a clone")
			checkWrite(t, c)
		})
	}
}

func TestEditErrors(t *testing.T) {
	t.Parallel()
	const in = "[g]\nk=v\nx=1\n[h]\nEncoding=latin1\n"
	f, err := keyfile.Parse([]byte(in))
	require.NoError(t, err)
	_, noKeys := f.Keys("no")
	_, noValue := f.Value("no", "k")
	_, noKey := f.String("g", "no")
	_, noComment := f.Comment("g", "no")
	_, noGroupComment := f.Comment("no", "")
	tests := []struct {
		name string
		err  error
		is   error
		text string
	}{
		{"Keys", noKeys, keyfile.ErrGroupNotFound, `group "no": group not found`},
		{"Value", noValue, keyfile.ErrGroupNotFound, `group "no": group not found`},
		{"String", noKey, keyfile.ErrKeyNotFound, `key "no" in group "g": key not found`},
		{"Comment", noComment, keyfile.ErrKeyNotFound, `key "no" in group "g": key not found`},
		{"Comment of group", noGroupComment, keyfile.ErrGroupNotFound, `group "no": group not found`},
		{"RemoveKey, no key", f.RemoveKey("g", "no"), keyfile.ErrKeyNotFound, `key "no" in group "g": key not found`},
		{"RemoveKey, no group", f.RemoveKey("no", "k"), keyfile.ErrGroupNotFound, `group "no": group not found`},
		{"RemoveGroup", f.RemoveGroup("no"), keyfile.ErrGroupNotFound, `group "no": group not found`},
		{"RemoveGroup before another encoding", f.RemoveGroup("g"), keyfile.ErrUnknownEncoding,
			`key "Encoding" in group "h": value "latin1" is not a supported encoding: not UTF-8`},
		{"SetComment", f.SetComment("g", "k", "a\x00"), keyfile.ErrInvalidValue,
			`key "k" in group "g": value "a\x00" cannot be held by a comment: invalid value`},
		{"RemoveComment", f.RemoveComment("no", ""), keyfile.ErrGroupNotFound, `group "no": group not found`},
		{"SetInt", f.SetInt("g", "k", 1<<31), keyfile.ErrInvalidValue,
			`key "k" in group "g": value "2147483648" is out of range: invalid value`},
		{"SetIntList", f.SetIntList("g", "k", []int{1, -1<<31 - 1}), keyfile.ErrInvalidValue,
			`key "k" in group "g": value "-2147483649" is out of range: invalid value`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			require.ErrorIs(t, tt.err, tt.is)
			assert.Equal(t, tt.text, tt.err.Error())
		})
	}
	assert.Equal(t, in, string(f.Bytes()))
}
