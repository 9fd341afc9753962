package cli

import "strings"

// fault is a command line that must fail.
type fault struct {
	line   string
	status int
	want   string // a regular expression for the error
}

// verb is a command: a line that works, and the ways in which it must fail. What a verb has no part in, such as files, has no fault.
type verb struct {
	good   string
	quiet  bool   // prints nothing on success
	whole  bool   // a reader that goes away is a failure: the output is all there is
	stuck  string // a line that waits: REGISTRY does not answer
	locked string // "repo", "dest" or "sysroot": who holds its lock makes the good line wait
	begun  bool   // before it waits for the lock it has done a part that is whole by itself
	stdin  bool   // the line "stuck" waits for standard input
	two    bool   // the good line needs two deployments
	faults map[string]fault
}

// Faults that every verb that can have them must be tested for.
const (
	unknownImage = "unknown image"
	wrongRef     = "wrong reference"
	noRepository = "no repository"
	notInside    = "repository without it"
	unreadable   = "unreadable file"
	exists       = "output exists"
	noSpace      = "no space"
)

// verbs is the table of verbs and faults.
func verbs() map[string]verb {
	const v1, v2 = " ostree-unverified-image:oci:WORLD/image:v1", " ostree-unverified-image:oci:WORLD/image:v2"
	const v9 = " ostree-unverified-image:oci:WORLD/image:v9"
	const stuck = " --insecure-skip-tls-verification ostree-unverified-registry:REGISTRY/x"
	const missing, full = "No such file or directory", "(?i)no space left|not enough|free"
	return map[string]verb{
		"container image pull": {
			good: "image pull -q DIR/repo" + v2, stuck: "image pull DIR/repo" + stuck,
			faults: map[string]fault{
				unknownImage:            {"image pull DIR/repo" + v9, 1, "v9"},
				"no source":             {"image pull DIR/repo ostree-unverified-image:oci:WORLD/none:v1", 1, "WORLD/none"},
				wrongRef:                {"image pull DIR/repo oci:WORLD/image:v2", 2, "did you mean .*, or ostree-unverified-image:oci:WORLD/image:v2"},
				noRepository:            {"image pull WORLD/none" + v2, 1, "WORLD/none.*" + missing},
				"repository is a file":  {"image pull WORLD/text" + v2, 1, "WORLD/text.*Not a directory"},
				"repository is none":    {"image pull WORLD/image" + v2, 1, "WORLD/image"},
				unreadable:              {"image pull --authfile=WORLD/none DIR/repo ostree-unverified-registry:127.0.0.1:1/x", 1, "WORLD/none"},
				"authfile is a text":    {"image pull --authfile=WORLD/text DIR/repo ostree-unverified-registry:127.0.0.1:1/x", 1, "WORLD/text"},
				"no key":                {"image pull --decryption-key=WORLD/none:x DIR/repo" + v2, 1, "decryption key WORLD/none: "},
				"no certificates":       {"image pull --cert-dir=WORLD/none DIR/repo ostree-unverified-registry:127.0.0.1:1/x", 1, "WORLD/none"},
				exists:                  {"image pull -q --check=WORLD/image DIR/repo" + v2, 1, "WORLD/image.*is a directory"},
				"digest file is a dir":  {"image pull -q --ostree-digestfile=WORLD/image DIR/repo" + v2, 1, "WORLD/image.*is a directory"},
				"digest file in no dir": {"image pull --ostree-digestfile=WORLD/none/x DIR/repo" + v2, 1, "WORLD/none"},
				noSpace:                 {"image pull -q DIR/full/dest" + v2, 1, full},
			},
		},
		"container image list": {good: "image list --repo DIR/repo", faults: map[string]fault{
			noRepository: {"image list --repo WORLD/none", 1, "WORLD/none.*" + missing},
		}},
		"container image history": {good: "image history --repo DIR/repo oci:WORLD/image:v1", faults: map[string]fault{
			unknownImage: {"image history --repo DIR/repo oci:WORLD/image:v9", 1, "No such image: oci:WORLD/image:v9"},
			wrongRef:     {"image history --repo DIR/repo x", 2, "Missing ':' in x"},
			noRepository: {"image history --repo WORLD/none oci:x", 1, "WORLD/none.*" + missing},
		}},
		"container image metadata": {good: "image metadata --repo DIR/repo oci:WORLD/image:v1", faults: map[string]fault{
			unknownImage: {"image metadata --repo DIR/repo oci:WORLD/image:v9", 1, "No such image: oci:WORLD/image:v9"},
			wrongRef:     {"image metadata --config --repo DIR/repo foo:x", 2, "Invalid transport: foo"},
			noRepository: {"image metadata --repo WORLD/none oci:x", 1, "WORLD/none.*" + missing},
		}},
		"container image inspect": {good: "image inspect --repo DIR/repo" + v2, stuck: "image inspect --repo DIR/repo" + stuck, faults: map[string]fault{
			unknownImage: {"image inspect" + v9, 1, "v9"},
			wrongRef:     {"image inspect oci:WORLD/image:v2", 2, "did you mean"},
			noRepository: {"image inspect --repo WORLD/none" + v2, 1, "WORLD/none.*" + missing},
			notInside:    {"image inspect --stored --repo DIR/repo oci:WORLD/image:v2", 1, "No such image: oci:WORLD/image:v2"},
			unreadable:   {"image inspect --authfile=WORLD/none ostree-unverified-registry:127.0.0.1:1/x", 1, "WORLD/none"},
		}},
		"container image diff": {good: "image diff --repo DIR/repo oci:WORLD/image:v1 oci:WORLD/image:v1", faults: map[string]fault{
			unknownImage: {"image diff --repo DIR/repo oci:WORLD/image:v1 oci:WORLD/image:v9", 1, "oci:WORLD/image:v9"},
			wrongRef:     {"image diff --repo DIR/repo oci:WORLD/image:v1 ::", 1, "::"},
			noRepository: {"image diff --repo WORLD/none a b", 1, "WORLD/none.*" + missing},
			notInside:    {"image diff --repo DIR/repo nobranch oci:WORLD/image:v1", 1, "nobranch"},
		}},
		"container image remove": {good: "image remove --repo DIR/repo oci:WORLD/image:v1", locked: "repo", begun: true, faults: map[string]fault{
			unknownImage: {"image remove --repo DIR/repo oci:WORLD/image:v8 oci:WORLD/image:v9", 1, "Missing images: oci:WORLD/image:v8 oci:WORLD/image:v9"},
			wrongRef:     {"image remove --repo DIR/repo oci:WORLD/image:v1 x", 2, "Missing ':' in x"},
			noRepository: {"image remove --repo WORLD/none oci:x", 1, "WORLD/none.*" + missing},
		}},
		"container image prune-layers": {good: "image prune-layers --repo DIR/repo", locked: "repo", faults: map[string]fault{
			noRepository: {"image prune-layers --repo WORLD/none", 1, "WORLD/none.*" + missing},
		}},
		"container image prune-images": {good: "image prune-images --full --sysroot DIR/sysroot", locked: "sysroot", faults: map[string]fault{
			unknownImage: {"image prune-images --sysroot DIR/sysroot --keep oci:WORLD/image:v9", 1, "No such image: oci:WORLD/image:v9"},
			wrongRef:     {"image prune-images --sysroot DIR/sysroot --keep x", 2, "Missing ':' in x"},
			noRepository: {"image prune-images --sysroot WORLD/none", 1, "WORLD/none.*" + missing},
			"no sysroot": {"image prune-images --sysroot WORLD/image", 1, "WORLD/image is not an OSTree sysroot"},
		}},
		"container image clear-cached-update": {good: "image clear-cached-update --repo DIR/repo oci:WORLD/image:v1", quiet: true, faults: map[string]fault{
			unknownImage: {"image clear-cached-update --repo DIR/repo oci:WORLD/image:v9", 1, "No such image: oci:WORLD/image:v9"},
			wrongRef:     {"image clear-cached-update --repo DIR/repo x", 2, "Missing ':' in x"},
			noRepository: {"image clear-cached-update --repo WORLD/none oci:x", 1, "WORLD/none.*" + missing},
		}},
		"container image deploy": {
			good: "image deploy -q --sysroot DIR/sysroot --stateroot demo --imgref" + v2, quiet: true, locked: "sysroot",
			stuck: "image deploy --sysroot DIR/sysroot --insecure-skip-tls-verification --imgref ostree-unverified-registry:REGISTRY/x",
			faults: map[string]fault{
				unknownImage:          {"image deploy --sysroot DIR/sysroot --imgref" + v9, 1, "v9"},
				wrongRef:              {"image deploy --sysroot DIR/sysroot --imgref x", 2, "Missing ':' in x"},
				noRepository:          {"image deploy --sysroot WORLD/none --imgref" + v2, 1, "WORLD/none.*" + missing},
				"no stateroot":        {"image deploy --sysroot DIR/sysroot --stateroot none --imgref" + v1, 1, "none"},
				unreadable:            {"image deploy --sysroot DIR/sysroot --authfile WORLD/none --imgref ostree-unverified-registry:127.0.0.1:1/x", 1, "WORLD/none"},
				exists:                {"image deploy -q --sysroot DIR/sysroot --write-commitid-to WORLD/image --imgref" + v1, 1, "WORLD/image.*is a directory"},
				"commit id in no dir": {"image deploy -q --sysroot DIR/sysroot --write-commitid-to WORLD/none/x --imgref" + v1, 1, "WORLD/none"},
				noSpace:               {"image deploy -q --sysroot DIR/full/sysroot --stateroot demo --imgref" + v2, 1, full},
			},
		},
		"container image copy": {
			good: "image copy --src-repo DIR/repo --dest-repo DIR/dest oci:WORLD/image:v1", quiet: true, locked: "dest",
			faults: map[string]fault{
				unknownImage:     {"image copy --src-repo DIR/repo --dest-repo DIR/dest oci:WORLD/image:v9", 1, "No such image: oci:WORLD/image:v9"},
				wrongRef:         {"image copy --src-repo DIR/repo --dest-repo DIR/dest x", 2, "Missing ':' in x"},
				noRepository:     {"image copy --src-repo WORLD/none --dest-repo DIR/dest oci:WORLD/image:v1", 1, "WORLD/none.*" + missing},
				"no destination": {"image copy --src-repo DIR/repo --dest-repo WORLD/none oci:WORLD/image:v1", 1, "WORLD/none.*" + missing},
				notInside:        {"image copy --src-repo DIR/dest --dest-repo DIR/repo oci:WORLD/image:v1", 1, "No such image"},
				noSpace:          {"image copy --src-repo DIR/repo --dest-repo DIR/full/dest oci:WORLD/image:v1", 1, full},
			},
		},
		"container image reexport": {
			good:  "image reexport -q --repo DIR/repo oci:WORLD/image:v1 oci:DIR/out",
			stuck: "image reexport --repo DIR/repo --insecure-skip-tls-verification oci:WORLD/image:v1 docker://REGISTRY/x",
			faults: map[string]fault{
				unknownImage:         {"image reexport --repo DIR/repo oci:WORLD/image:v9 oci:DIR/out", 1, "No such image: oci:WORLD/image:v9"},
				wrongRef:             {"image reexport --repo DIR/repo oci:WORLD/image:v1 x", 2, "Missing ':' in x"},
				noRepository:         {"image reexport --repo WORLD/none oci:WORLD/image:v1 oci:DIR/out", 1, "WORLD/none.*" + missing},
				notInside:            {"image reexport --repo DIR/commits oci:WORLD/image:v1 oci:DIR/out", 1, "No such image"},
				unreadable:           {"image reexport -q --repo DIR/repo --authfile=WORLD/none oci:WORLD/image:v1 docker://127.0.0.1:1/x", 1, "WORLD/none"},
				exists:               {"image reexport -q --repo DIR/repo oci:WORLD/image:v1 oci:WORLD/text", 1, "WORLD/text.*not a directory"},
				"another digest":     {"image reexport -q --preserve-digests --compression none --repo DIR/repo oci:WORLD/image:v1 oci:DIR/out", 1, "the digest would change"},
				"output is no image": {"image reexport -q --repo DIR/repo oci:WORLD/image:v1 oci:WORLD/repo", 1, "WORLD/repo: not an OCI image layout"},
				"other files in dir": {"image reexport -q --repo DIR/repo oci:WORLD/image:v1 dir:WORLD/repo", 1, "WORLD/repo"},
				"output in no dir":   {"image reexport -q --repo DIR/repo oci:WORLD/image:v1 oci:DIR/no/out", 1, "DIR/no/out"},
				"archive in no dir":  {"image reexport -q --repo DIR/repo oci:WORLD/image:v1 oci-archive:DIR/no/out", 1, "DIR/no"},
				"archive is a dir":   {"image reexport -q --repo DIR/repo oci:WORLD/image:v1 oci-archive:WORLD/repo", 1, "WORLD/repo.*is a directory"},
				noSpace:              {"image reexport -q --repo DIR/repo oci:WORLD/image:v1 oci:DIR/full/out", 1, full},
				"no space, archive":  {"image reexport -q --repo DIR/repo oci:WORLD/image:v1 oci-archive:DIR/full/out", 1, full},
				"no space, dir":      {"image reexport -q --repo DIR/repo oci:WORLD/image:v1 dir:DIR/full/out", 1, full},
			},
		},
		"container image replace-detached-metadata": {
			good:  "image replace-detached-metadata --src oci:WORLD/base:v1 --dest oci:DIR/out",
			stuck: "image replace-detached-metadata --insecure-skip-tls-verification --src docker://REGISTRY/x --dest oci:DIR/out",
			faults: map[string]fault{
				unknownImage:       {"image replace-detached-metadata --src oci:WORLD/base:v9 --dest oci:DIR/out", 1, "v9"},
				"no commit inside": {"image replace-detached-metadata --src oci:WORLD/image:v1 --dest oci:DIR/out", 1, "oci:WORLD/image:v1: .*not an ostree encapsulated container"},
				wrongRef:           {"image replace-detached-metadata --src oci:WORLD/base:v1 --dest x", 2, "Missing ':' in x"},
				unreadable:         {"image replace-detached-metadata --src oci:WORLD/base:v1 --dest oci:DIR/out WORLD/none", 1, "WORLD/none"},
				"file is a dir":    {"image replace-detached-metadata --src oci:WORLD/base:v1 --dest oci:DIR/out WORLD/image", 1, "WORLD/image.*is a directory"},
				"file is a text":   {"image replace-detached-metadata --src oci:WORLD/base:v1 --dest oci:DIR/out WORLD/text", 1, "not a sound a{sv}"},
				exists:             {"image replace-detached-metadata --src oci:WORLD/base:v1 --dest oci:WORLD/text", 1, "WORLD/text.*not a directory"},
				noSpace:            {"image replace-detached-metadata --src oci:WORLD/base:v1 --dest oci:DIR/full/out", 1, full},
			},
		},
		"container info": {good: "container info" + v1, stuck: "container info" + stuck, faults: map[string]fault{
			unknownImage: {"container info" + v9, 1, "v9"},
			wrongRef:     {"container info oci:WORLD/image:v1", 2, "did you mean"},
			unreadable:   {"container info --authfile=WORLD/none ostree-unverified-registry:127.0.0.1:1/x", 1, "WORLD/none"},
		}},
		"container compare": {good: "container compare" + v1 + v2, stuck: "container compare" + v1 + stuck, faults: map[string]fault{
			unknownImage: {"container compare" + v1 + v9, 1, "v9"},
			wrongRef:     {"container compare x" + v1, 2, "Missing ':' in x"},
			unreadable:   {"container compare --authfile=WORLD/none" + v1 + " ostree-unverified-registry:127.0.0.1:1/x", 1, "WORLD/none"},
		}},
		"container encapsulate": {
			good:  "container encapsulate -q --repo DIR/commits os oci:DIR/out",
			stuck: "container encapsulate -q --repo DIR/commits --insecure-skip-tls-verification os docker://REGISTRY/x",
			faults: map[string]fault{
				wrongRef:                 {"container encapsulate --repo DIR/commits os x", 2, "Missing ':' in x"},
				"no directory":           {"container encapsulate --rootfs WORLD/none oci:DIR/out", 1, "WORLD/none: no such file or directory"},
				"root is a file":         {"container encapsulate --rootfs WORLD/text oci:DIR/out", 1, "WORLD/text.*not a directory"},
				"no space for a commit":  {"container encapsulate -q --repo DIR/full/dest --rootfs WORLD/image oci:DIR/out", 1, full},
				noRepository:             {"container encapsulate --repo WORLD/none os oci:DIR/out", 1, "WORLD/none.*" + missing},
				notInside:                {"container encapsulate --repo DIR/commits nobranch oci:DIR/out", 1, "nobranch"},
				"repository without a":   {"container encapsulate --repo DIR/commits " + strings.Repeat("0", 64) + " oci:DIR/out", 1, strings.Repeat("0", 64)},
				unreadable:               {"container encapsulate --repo DIR/commits --contentmeta WORLD/none os oci:DIR/out", 1, "WORLD/none"},
				"metadata is a dir":      {"container encapsulate --repo DIR/commits --contentmeta WORLD/image os oci:DIR/out", 1, "WORLD/image.*is a directory"},
				"metadata is a text":     {"container encapsulate --repo DIR/commits --contentmeta WORLD/text os oci:DIR/out", 1, "WORLD/text"},
				"configuration is a dir": {"container encapsulate --repo DIR/commits --config WORLD/image os oci:DIR/out", 1, "WORLD/image.*is a directory"},
				"no authfile":            {"container encapsulate -q --repo DIR/commits --authfile WORLD/none os docker://127.0.0.1:1/x", 1, "WORLD/none"},
				exists:                   {"container encapsulate -q --repo DIR/commits os oci:WORLD/text", 1, "WORLD/text.*not a directory"},
				"output is no image":     {"container encapsulate -q --repo DIR/commits os oci:WORLD/repo", 1, "WORLD/repo: not an OCI image layout"},
				"other files in dir":     {"container encapsulate -q --repo DIR/commits os dir:WORLD/repo", 1, "WORLD/repo"},
				noSpace:                  {"container encapsulate -q --repo DIR/commits os oci:DIR/full/out", 1, full},
				"no space, archive":      {"container encapsulate -q --repo DIR/commits os docker-archive:DIR/full/out", 1, full},
			},
		},
		"container unencapsulate": {
			good:  "container unencapsulate -q --repo DIR/dest --write-ref x ostree-unverified-image:oci:WORLD/base:v1",
			stuck: "container unencapsulate --repo DIR/dest" + stuck,
			faults: map[string]fault{
				unknownImage:       {"container unencapsulate --repo DIR/dest ostree-unverified-image:oci:WORLD/base:v9", 1, "v9"},
				"no commit inside": {"container unencapsulate --repo DIR/dest" + v1, 1, "oci:WORLD/image:v1: .*not an ostree encapsulated container"},
				wrongRef:           {"container unencapsulate --repo DIR/dest oci:WORLD/base:v1", 2, "did you mean"},
				"wrong branch":     {"container unencapsulate -q --repo DIR/dest --write-ref a@b ostree-unverified-image:oci:WORLD/base:v1", 1, "a@b"},
				"reserved branch":  {"container unencapsulate -q --repo DIR/dest --write-ref ostree/container/image/x ostree-unverified-image:oci:WORLD/base:v1", 1, "are of images"},
				noRepository:       {"container unencapsulate --repo WORLD/none ostree-unverified-image:oci:WORLD/base:v1", 1, "WORLD/none.*" + missing},
				unreadable:         {"container unencapsulate --repo DIR/dest --authfile=WORLD/none ostree-unverified-registry:127.0.0.1:1/x", 1, "WORLD/none"},
				noSpace:            {"container unencapsulate -q --repo DIR/full/dest --write-ref x ostree-unverified-image:oci:WORLD/base:v1", 1, full},
			},
		},
		"tar import": {good: "tar import --repo DIR/dest WORLD/commit.tar", stuck: "tar import --repo DIR/dest", stdin: true, faults: map[string]fault{
			noRepository:    {"tar import --repo WORLD/none WORLD/commit.tar", 1, "WORLD/none.*" + missing},
			unreadable:      {"tar import --repo DIR/dest WORLD/none", 1, "WORLD/none"},
			"stream is dir": {"tar import --repo DIR/dest WORLD/image", 1, "WORLD/image.*is a directory"},
			"text":          {"tar import --repo DIR/dest WORLD/text", 1, "."},
			noSpace:         {"tar import --repo DIR/full/dest WORLD/commit.tar", 1, full},
		}},
		"tar export": {good: "tar export --repo DIR/commits os", whole: true, faults: map[string]fault{
			noRepository: {"tar export --repo WORLD/none os", 1, "WORLD/none.*" + missing},
			notInside:    {"tar export --repo DIR/commits nobranch", 1, "nobranch"},
			wrongRef:     {"tar export --repo DIR/commits a..b", 1, `a\.\.b`},
		}},
		"provisional-repair analyze-inodes": {good: "provisional-repair analyze-inodes --repo DIR/repo", faults: map[string]fault{
			noRepository:       {"provisional-repair analyze-inodes --repo WORLD/none", 1, "WORLD/none.*" + missing},
			exists:             {"provisional-repair analyze-inodes --repo DIR/repo --write-result-to WORLD/image", 1, "WORLD/image.*is a directory"},
			"result in no dir": {"provisional-repair analyze-inodes --repo DIR/repo --write-result-to WORLD/none/x", 1, "WORLD/none"},
			noSpace:            {"provisional-repair analyze-inodes --repo DIR/repo --write-result-to DIR/full/x", 1, full},
		}},
		"provisional-repair ensure-verity": {good: "provisional-repair ensure-verity --dry-run --repo DIR/repo", faults: map[string]fault{
			noRepository:   {"provisional-repair ensure-verity --repo WORLD/none", 1, "WORLD/none.*" + missing},
			"no fs-verity": {"provisional-repair ensure-verity --repo DIR/full/dest", 1, "DIR/full/dest.*unsupported operation"},
			"archive":      {"provisional-repair ensure-verity --repo DIR/commits", 1, "its mode is archive"},
		}},
		"provisional-repair repair": {good: "provisional-repair repair --sysroot DIR/sysroot", locked: "sysroot", faults: map[string]fault{
			noRepository: {"provisional-repair repair --sysroot WORLD/none", 1, "WORLD/none.*" + missing},
			exists:       {"provisional-repair repair --sysroot DIR/sysroot --write-result-to WORLD/image", 1, "WORLD/image.*is a directory"},
			noSpace:      {"provisional-repair repair --sysroot DIR/sysroot --write-result-to DIR/full/x", 1, full},
		}},
		"container host status": {good: "host status --sysroot DIR/sysroot", faults: map[string]fault{
			noRepository: {"host status --sysroot WORLD/none", 1, "WORLD/none.*" + missing},
			"no sysroot": {"host status --sysroot WORLD/image", 1, "WORLD/image is not an OSTree sysroot"},
			"not booted": {"host status --booted --sysroot DIR/sysroot", 1, "not booted"},
			"wrong form": {"host status --format xml", 2, "text, json or yaml"},
		}},
		"container host upgrade": {
			good: "host upgrade -q --sysroot DIR/sysroot --tag v2", locked: "sysroot",
			faults: map[string]fault{
				unknownImage:    {"host upgrade --sysroot DIR/sysroot --tag v9", 1, "v9"},
				"check of none": {"host upgrade --check --sysroot DIR/sysroot --tag v9", 1, "v9"},
				wrongRef:        {"host upgrade --sysroot DIR/sysroot --tag a/b", 2, "Invalid tag"},
				"no tag":        {"host upgrade --sysroot DIR/sysroot --tag=", 2, "Invalid tag"},
				noRepository:    {"host upgrade --sysroot WORLD/none", 1, "WORLD/none.*" + missing},
				"no stateroot":  {"host upgrade --sysroot DIR/sysroot --stateroot none", 1, "none"},
				"not booted":    {"host upgrade --sysroot DIR/sysroot --tag v2 --download-only", 1, "not booted"},
				"not staged":    {"host upgrade --sysroot DIR/sysroot --from-downloaded", 1, "nothing is staged"},
				"no soft":       {"host upgrade --sysroot DIR/sysroot --tag v2 --soft-reboot=required", 1, "libostree|not booted"},
				"wrong mode":    {"host upgrade --sysroot DIR/sysroot --soft-reboot=x", 2, "auto or required"},
				"two modes":     {"host upgrade --sysroot DIR/sysroot --check --download-only", 2, "cannot be used with"},
				unreadable:      {"host upgrade --sysroot DIR/sysroot --cert-dir WORLD/none --tag v2", 1, "WORLD/none"},
				noSpace:         {"host upgrade -q --sysroot DIR/full/sysroot --tag v2", 1, full},
			},
		},
		"container host switch": {
			good: "host switch -q --sysroot DIR/sysroot" + v2, locked: "sysroot",
			stuck: "host switch --sysroot DIR/sysroot" + stuck,
			faults: map[string]fault{
				unknownImage:   {"host switch --sysroot DIR/sysroot" + v9, 1, "v9"},
				wrongRef:       {"host switch --sysroot DIR/sysroot oci:WORLD/image:v2", 2, "did you mean"},
				noRepository:   {"host switch --sysroot WORLD/none" + v2, 1, "WORLD/none.*" + missing},
				"no stateroot": {"host switch --sysroot DIR/sysroot --stateroot none" + v2, 1, "none"},
				unreadable:     {"host switch --sysroot DIR/sysroot --authfile WORLD/none ostree-unverified-registry:127.0.0.1:1/x", 1, "WORLD/none"},
				noSpace:        {"host switch -q --sysroot DIR/full/sysroot" + v2, 1, full},
			},
		},
		"container host rollback": {good: "host rollback --sysroot DIR/sysroot", two: true, locked: "sysroot", faults: map[string]fault{
			noRepository:   {"host rollback --sysroot WORLD/none", 1, "WORLD/none.*" + missing},
			"nothing":      {"host rollback --sysroot DIR/sysroot", 1, "no rollback deployment"},
			"no stateroot": {"host rollback --sysroot DIR/sysroot --stateroot none", 1, "none"},
		}},
		"container host pin": {good: "host pin --sysroot DIR/sysroot 0", locked: "sysroot", faults: map[string]fault{
			noRepository: {"host pin --sysroot WORLD/none 0", 1, "WORLD/none.*" + missing},
			"no such":    {"host pin --sysroot DIR/sysroot 0 3", 1, "index 3 of 1"},
			"no number":  {"host pin --sysroot DIR/sysroot -- -1", 2, `invalid value "-1" for INDEX`},
		}},
		"container host unpin": {good: "host unpin --sysroot DIR/sysroot 0", locked: "sysroot", faults: map[string]fault{
			noRepository: {"host unpin --sysroot WORLD/none 0", 1, "WORLD/none.*" + missing},
			"no such":    {"host unpin --sysroot DIR/sysroot 3", 1, "index 3 of 1"},
			"nothing":    {"host unpin --sysroot DIR/sysroot", 2, "INDEX"},
		}},
		"container host undeploy": {good: "host undeploy --sysroot DIR/sysroot 1", two: true, locked: "sysroot", faults: map[string]fault{
			noRepository: {"host undeploy --sysroot WORLD/none 0", 1, "WORLD/none.*" + missing},
			"no such":    {"host undeploy --sysroot DIR/sysroot 3", 1, "index 3 of 1"},
			"no number":  {"host undeploy --sysroot DIR/sysroot x", 2, `invalid value "x" for INDEX`},
		}},
		"container host set-default": {good: "host set-default --sysroot DIR/sysroot 1", two: true, locked: "sysroot", faults: map[string]fault{
			noRepository: {"host set-default --sysroot WORLD/none 0", 1, "WORLD/none.*" + missing},
			"no such":    {"host set-default --sysroot DIR/sysroot 1", 1, "index 1 of 1"},
			"no number":  {"host set-default --sysroot DIR/sysroot 99999999999", 2, "for INDEX"},
		}},
		"completion": {good: "completion bash", faults: map[string]fault{wrongRef: {"completion tcsh", 2, "tcsh"}}},
		"man": {good: "man DIR/tmp", quiet: true, faults: map[string]fault{
			exists:  {"man WORLD/text", 1, "WORLD/text"},
			noSpace: {"man DIR/full/", 1, full},
		}},
	}
}
