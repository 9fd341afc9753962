package ostree

// #include "shim.h"
import "C"

import (
	"fmt"
	"strings"
	"sync"
	"unsafe"
)

// Feature names something of libostree that not every supported version has.
type Feature string

// Features that Supports knows.
const (
	FeatureFinalizationLock  Feature = "finalization-lock" // DeployTreeOptions.Locked, Sysroot.ChangeFinalization (2023.8)
	FeatureEarlyPruneControl Feature = "early-prune"       // WriteDeploymentsOptions.DisableAutoEarlyPrune (2023.8)
	FeatureUpdatePostCopy    Feature = "update-post-copy"  // Sysroot.UpdatePostCopy (2023.8)
	FeatureKexec             Feature = "kexec"             // Sysroot.DeploymentKexecLoad, UpgraderKexec (2025.1)
	FeatureSePolicyNullLog   Feature = "sepolicy-null-log" // SetSePolicyNullLog (2025.2)
	FeatureSoftReboot        Feature = "soft-reboot"       // Deployment.CanSoftReboot, Sysroot.DeploymentSetSoftReboot (2025.3)
	FeatureRepoMetadata      Feature = "repo-metadata"     // Repo.RegenerateMetadata (2023.1)
	FeatureComposefsDigest   Feature = "composefs-digest"  // Tree.ComposefsMetadata (2023.4)
	FeatureComposefs         Feature = "composefs"         // Repo.CheckoutComposefs (2024.7)
	FeatureReadKeys          Feature = "read-keys"         // Signer.ReadPublicKeys, Signer.ReadSecretKeys (2025.2)
	FeatureConfigReload      Feature = "config-reload"     // Repo.WriteConfigAndReload (2025.3)
	FeatureBootTries         Feature = "boot-tries"        // BootConfig.TriesLeft, BootConfig.TriesDone (2025.3)
	FeatureLocalSummary      Feature = "local-summary"     // Repo.VerifyLocalSummary (2026.3)
)

var features = map[Feature]struct{ symbol, since string }{
	FeatureFinalizationLock:  {"ostree_sysroot_change_finalization", "2023.8"},
	FeatureEarlyPruneControl: {"ostree_sysroot_change_finalization", "2023.8"},
	FeatureUpdatePostCopy:    {"ostree_sysroot_update_post_copy", "2023.8"},
	FeatureKexec:             {"ostree_sysroot_deployment_kexec_load", "2025.1"},
	FeatureSePolicyNullLog:   {"ostree_sepolicy_set_null_log", "2025.2"},
	FeatureSoftReboot:        {"ostree_sysroot_deployment_can_soft_reboot", "2025.3"},
	FeatureRepoMetadata:      {"ostree_repo_regenerate_metadata", "2023.1"},
	FeatureComposefsDigest:   {"ostree_repo_commit_add_composefs_metadata", "2023.4"},
	FeatureComposefs:         {"ostree_repo_checkout_composefs", "2024.7"},
	FeatureReadKeys:          {"ostree_sign_read_pk", "2025.2"},
	FeatureConfigReload:      {"ostree_repo_write_config_and_reload", "2025.3"},
	FeatureBootTries:         {"ostree_bootconfig_parser_get_tries_left", "2025.3"},
	FeatureLocalSummary:      {"ostree_repo_verify_local_summary", "2026.3"},
}

// Supports reports whether the libostree at run time has f.
func Supports(f Feature) bool {
	d, ok := features[f]
	return ok && symbol(d.symbol) != nil
}

// unsupported is the error of a method whose C function is missing.
func unsupported(op string, f Feature) error {
	return fmt.Errorf("%s: needs libostree %s, have %s: %w", op, features[f].since, Version(), ErrUnsupported)
}

var symbols sync.Map // name -> unsafe.Pointer

// symbol looks a C function up by name, nil if it is not there.
func symbol(name string) unsafe.Pointer {
	if p, ok := symbols.Load(name); ok {
		return p.(unsafe.Pointer)
	}
	c := C.CString(name)
	defer C.free(unsafe.Pointer(c))
	p := C.shim_symbol(c)
	symbols.Store(name, p)
	return p
}

// AtLeast reports whether the libostree at run time is year.release or newer.
//
// C: ostree_check_version
func AtLeast(year, release int) bool {
	if year < 0 || release < 0 {
		return true
	}
	return C.ostree_check_version(C.guint(year), C.guint(release)) != 0
}

var version = sync.OnceValue(func() string {
	// libostree answers comparisons only.
	year := 2022
	for year < 9999 && AtLeast(year+1, 0) {
		year++
	}
	release := 0
	for release < 9999 && AtLeast(year, release+1) {
		release++
	}
	return fmt.Sprintf("%d.%d", year, release)
})

// Version returns the version of the libostree at run time, for example "2022.7".
func Version() string { return version() }

// HeaderVersion returns the version of the headers that this was compiled with.
func HeaderVersion() string { return C.OSTREE_VERSION_S }

// Features lists what the libostree compiled with was built with, for example
// "gpgme", "selinux" or "libarchive": the list that `ostree --version` shows, not
// the Features of Supports.
func Features() []string { return strings.Fields(C.OSTREE_BUILT_FEATURES) }
