package ostree_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/ostree-container/ostree-container/ostree"
)

// Who signed some data, and is one of the signatures good? The key and the signature in testdata were made with gpg.
func ExampleGPGVerifyResult() {
	dir, remove := scratch()
	defer remove()
	ctx := context.Background()
	repo, err := ostree.CreateRepo(ctx, filepath.Join(dir, "repo"), ostree.ModeArchive)
	if err != nil {
		log.Fatal(err)
	}
	defer repo.Close()
	signature, err := os.ReadFile("testdata/hello.sig")
	if err != nil {
		log.Fatal(err)
	}
	for _, text := range []string{"hello\n", "hullo\n"} {
		result, err := repo.GPGVerifyData(ctx, "", []byte(text), signature, &ostree.GPGKeyring{File: "testdata/example-key.gpg"})
		if err != nil {
			log.Fatal(err)
		}
		signatures, err := result.Signatures()
		if err != nil {
			log.Fatal(err)
		}
		for _, s := range signatures {
			fmt.Printf("%q by %s <%s>: valid %t, error %v\n", text, s.UserName, s.UserEmail, s.Valid, result.RequireValidSignature() != nil)
		}
	}
	// Output:
	// "hello\n" by Example <example@example.com>: valid true, error false
	// "hullo\n" by Example <example@example.com>: valid false, error true
}
