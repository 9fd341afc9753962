package keyfile_test

import (
	"errors"
	"fmt"

	"github.com/ostree-container/ostree-container/keyfile"
)

func Example() {
	f, err := keyfile.Parse([]byte(`# written by the installer
[origin]
container-image-reference = ostree-unverified-registry:quay.io/example/os:1
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := f.SetString("origin", "container-image-reference", "ostree-unverified-registry:quay.io/example/os:2"); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(string(f.Bytes()))
	// Output:
	// # written by the installer
	// [origin]
	// container-image-reference = ostree-unverified-registry:quay.io/example/os:2
}

func ExampleParse_error() {
	_, err := keyfile.Parse([]byte("[core]\nmode=bare\nrepo_version 1\n"))
	var pe *keyfile.ParseError
	if errors.As(err, &pe) {
		fmt.Println("line", pe.Line)
	}
	fmt.Println(err)
	// Output:
	// line 3
	// line 3: neither a key and value, nor a group, nor a comment: "repo_version 1"
}

func ExampleFile_Bool() {
	f, err := keyfile.Parse([]byte("[sysroot]\nreadonly=true\n"))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(f.Bool("sysroot", "readonly"))
	_, err = f.Bool("sysroot", "bootloader")
	fmt.Println(errors.Is(err, keyfile.ErrKeyNotFound), err)
	// Output:
	// true <nil>
	// true key "bootloader" in group "sysroot": key not found
}

func ExampleFile_SetStringList() {
	f := keyfile.New()
	if err := f.SetStringList(`remote "example"`, "mirrors", []string{"a.example.org", "b;c"}); err != nil {
		fmt.Println(err)
		return
	}
	if err := f.SetComment(`remote "example"`, "mirrors", " tried in order"); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(string(f.Bytes()))
	// Output:
	// [remote "example"]
	// # tried in order
	// mirrors=a.example.org;b\;c;
}

func ExampleFile_LocaleString() {
	f, err := keyfile.Parse([]byte("[app]\nName=Files\nName[de]=Dateien\n"))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(f.LocaleString("app", "Name", "de_AT.UTF-8"))
	fmt.Println(f.LocaleString("app", "Name", "fr_FR"))
	// Output:
	// Dateien <nil>
	// Files <nil>
}
