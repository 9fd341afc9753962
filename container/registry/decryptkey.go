package registry

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/containers/ocicrypt/utils"
)

// DecryptionKey opens layers that were encrypted as ocicrypt(7) does, by "skopeo copy --encryption-key" for example.
type DecryptionKey struct {
	// File is the path of a private key (PEM, DER or JWK, for jwe: and pkcs7:), or of a certificate (for pkcs7:, which needs the key
	// and the certificate).
	File string
	// Passphrase opens the key; "" if it has none.
	Passphrase string
}

// String is for debugging and leaves out the passphrase.
func (k DecryptionKey) String() string {
	if k.Passphrase != "" {
		return k.File + ":" + redacted
	}
	return k.File
}

// GoString is String.
func (k DecryptionKey) GoString() string { return k.String() }

// maxKeySize is how much of a file with a key is read, in bytes.
const maxKeySize = 1 << 20

// ParseDecryptionKey reads "FILE[:PASSPHRASE]", as skopeo's --decryption-key has it. PASSPHRASE may also be "file=FILE", "fd=NUMBER" (of an
// open file) or "pass=PASSPHRASE"; a newline at the end of such a file is not part of it. Errors show nothing of a passphrase.
func ParseDecryptionKey(s string) (DecryptionKey, error) {
	file, pass, given := strings.Cut(s, ":")
	k := DecryptionKey{File: file, Passphrase: pass}
	if file == "" {
		return DecryptionKey{}, errors.New("decryption key: the name of a file is missing")
	}
	if !given {
		return k, nil
	}
	from := func(f *os.File, err error) (DecryptionKey, error) {
		if err != nil {
			return DecryptionKey{}, fmt.Errorf("passphrase of decryption key %s: %w", file, err)
		}
		text, err := io.ReadAll(io.LimitReader(f, maxKeySize))
		if err = errors.Join(err, f.Close()); err != nil {
			return DecryptionKey{}, fmt.Errorf("passphrase of decryption key %s: %w", file, err)
		}
		k.Passphrase = string(bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r")))
		return k, nil
	}
	switch how, value, _ := strings.Cut(pass, "="); how {
	case "pass":
		k.Passphrase = value
	case "file":
		return from(openGiven(value))
	case "fd":
		fd, err := strconv.ParseUint(value, 10, 31)
		if err != nil {
			return DecryptionKey{}, fmt.Errorf("passphrase of decryption key %s: not the number of an open file", file)
		}
		return from(os.NewFile(uintptr(fd), "passphrase"), nil)
	}
	return k, nil
}

// load reads the file and finds out what it is.
func (k DecryptionKey) load() (data []byte, certificate bool, err error) {
	f, err := openGiven(k.File)
	if err != nil {
		return nil, false, errors.Unwrap(err) // the caller names the file
	}
	data, err = io.ReadAll(io.LimitReader(f, maxKeySize))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, false, err
	}
	if utils.IsCertificate(data) {
		return data, true, nil
	}
	ok, err := utils.IsPrivateKey(data, []byte(k.Passphrase))
	block, _ := pem.Decode(data)
	switch {
	case ok && !utils.IsPkcs11PrivateKey(data):
		return data, false, nil
	case utils.IsPasswordError(err), block != nil && block.Headers["DEK-Info"] != "": // of 256 wrong ones, one decrypts it to something
		if k.Passphrase == "" {
			return nil, false, errors.New("it has a passphrase, and none was given")
		}
		return nil, false, errors.New("wrong passphrase")
	case block != nil && block.Type == "ENCRYPTED PRIVATE KEY":
		return nil, false, errors.New(`PKCS #8 with a passphrase is not read; "openssl rsa -aes256 -traditional" makes a key that is`)
	}
	return nil, false, errors.New("neither a private key nor a certificate that can be used")
}
