# ostree-container. `make help` lists the targets; CONTRIBUTING.md says more.

GO      ?= go
PREFIX  ?= /usr/local
DESTDIR ?=
# Where libostree looks for `ostree container ...`.
EXTDIR  ?= /usr/libexec/libostree/ext
# What is expensive to make again: base images, the judge of `make interop`.
CACHE   ?= $(if $(filter 0,$(shell id -u)),/var/cache,$(or $(XDG_CACHE_HOME),$(HOME)/.cache))/ostree-container
FUZZTIME ?= 30s
COUNT    ?= 6
RUNS     ?= 5
GOLANGCI_LINT = github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

BIN      = bin/ostree-container
VERSION  = $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
# libisal makes gunzip several times faster, libdeflate gzip; without them pure Go does the job.
# containers_storage adds containers-storage:, the exclude_* keep what is not needed for it out (the headers of btrfs, among others).
# "make tags" prints them all.
TAGS     = containers_image_openpgp,containers_storage,exclude_graphdriver_btrfs,exclude_graphdriver_aufs,exclude_graphdriver_zfs$(shell pkg-config --exists libisal 2>/dev/null && echo ,isal)$(shell pkg-config --exists libdeflate 2>/dev/null && echo ,libdeflate)
LDFLAGS  = -X main.version=$(VERSION)
PACKAGES = ./...
SUDO     = $(if $(filter 0,$(shell id -u)),,sudo)
ALL      = $(if $(SUDO),,REQUIRE_ALL=1) JUDGE=$(JUDGE)
GOTEST   = $(GO) test -tags '$(TAGS)' -timeout 20m

# A clone that belongs to someone else must build too.
export GOFLAGS := $(filter-out -buildvcs%,$(GOFLAGS)) -buildvcs=false

.DEFAULT_GOAL = help
.DELETE_ON_ERROR:
.PHONY: help tags deps deps-test deps-boot go-version judge build install test test-race test-root \
	test-container matrix interop fuzz bench bench-go cover fmt lint api-coverage binding-doc demo boot-test boot-test-sid chroot-test clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo; echo 'Variables: PREFIX DESTDIR EXTDIR CACHE FUZZTIME COUNT PACKAGES GO'

deps: ## Install what build and demo need (apt or dnf; asks nothing)
	@testdata/deps build

deps-test: ## Install what the tests need as well
	@testdata/deps build test

deps-boot: ## Install what boot-test, chroot-test and test-container need as well
	@testdata/deps build test boot

tags: ## Print the build tags, for: go test -tags "$$(make -s tags)" ./...
	@echo '$(TAGS)'

go-version:
	@command -v $(GO) >/dev/null || { echo 'Go is missing: $(GO) is not in PATH; go.mod says which version' >&2; exit 1; }
	@$(GO) list -m >/dev/null

build: go-version ## Build bin/ostree-container
	@pkg-config --exists ostree-1 2>/dev/null || { echo 'libostree headers are missing: run make deps' >&2; exit 1; }
	$(GO) build -tags '$(TAGS)' -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/ostree-container

install: ## Install program, man pages and completions (DESTDIR, PREFIX, EXTDIR)
	@test -x $(BIN) || { echo 'run make build first' >&2; exit 1; }
	install -D -m 0755 $(BIN) '$(DESTDIR)$(PREFIX)/bin/ostree-container'
	install -d '$(DESTDIR)$(EXTDIR)' '$(DESTDIR)$(PREFIX)/share/man/man1'
	for name in container provisional-repair; do ln -sf '$(PREFIX)/bin/ostree-container' "$(DESTDIR)$(EXTDIR)/ostree-$$name"; done
	$(BIN) man '$(DESTDIR)$(PREFIX)/share/man/man1'
	@set -e; completion() { install -d "$$(dirname "$$2")"; $(BIN) completion "$$1" > "$$2"; echo "$$2"; }; \
	cd . ; share='$(DESTDIR)$(PREFIX)/share'; \
	completion bash "$$share/bash-completion/completions/ostree-container"; \
	completion zsh "$$share/zsh/site-functions/_ostree-container"; \
	completion fish "$$share/fish/vendor_completions.d/ostree-container.fish"

# The judge of the interop tests is built from crates, kept outside the tree.
# With CI=true a missing cargo is an error, elsewhere those tests skip.
judge:
	@if command -v cargo >/dev/null; then \
		testdata/deps build interop && \
		cargo build --quiet --release --locked --manifest-path testdata/judge/Cargo.toml --target-dir '$(CACHE)/judge/target'; \
	elif [ "$${CI:-}" = true ]; then \
		echo 'cargo is missing: the interop tests cannot run' >&2; exit 1; \
	else \
		echo 'cargo is missing: the interop tests are skipped'; \
	fi
JUDGE = $(if $(shell command -v cargo),$(CACHE)/judge/target/release/judge,none)

# As an ordinary user, tests that need root skip: test-root runs those.
test: deps-test build judge ## Run all tests, interop too; as root nothing may skip
	$(ALL) $(GOTEST) $(PACKAGES)

test-race: deps-test judge ## Run all tests under the race detector
	$(ALL) $(GOTEST) -race $(PACKAGES)

test-root: deps-test judge ## Run all tests as root (through sudo if need be)
	REQUIRE_ALL=1 JUDGE=$(JUDGE) $(GOTEST) $(if $(SUDO),-exec 'sudo -E') $(PACKAGES)

test-container: build deps-boot ## Run what CI runs in Dockerfile.test, over a base made from packages
	$(SUDO) testdata/chroot/test-container '$(CACHE)'

matrix: deps-boot ## Run the tests on libostree 2025.2 (trixie), 2026.4 (sid) and one with ed25519, in chroots kept in CACHE
	$(SUDO) testdata/chroot/matrix '$(CACHE)'

interop: deps-test judge ## Only the comparison with the Rust crate ostree-ext, both ways
	REQUIRE_ALL=1 JUDGE=$(JUDGE) $(GOTEST) -run Interop -v $(PACKAGES)

fuzz: go-version ## Run every fuzz target for FUZZTIME (30s)
	@set -e; for pkg in $$($(GO) list -tags '$(TAGS)' $(PACKAGES)); do \
		for f in $$($(GO) test -tags '$(TAGS)' -list '^Fuzz' "$$pkg" | grep '^Fuzz' || true); do \
			echo "+ $$f in $$pkg"; \
			$(GO) test -tags '$(TAGS)' -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) "$$pkg"; \
		done; \
	done

bench-go: deps-test ## Run the Go benchmarks of each stage COUNT (6) times, for benchstat
	$(GOTEST) -run '^$$' -bench . -benchmem -count $(COUNT) $(PACKAGES)

bench: deps-test build judge ## Measure whole pulls, updates, deployments against ostree-ext and tar, RUNS (5) times
	$(GO) build -o bin/bench ./container/internal/bench
	$(SUDO) bin/bench -cache '$(CACHE)/bench' -judge '$(JUDGE)' -runs $(RUNS) -doc docs/performance.md

cover: deps-test judge ## Coverage of all tests: coverage.html and a total
	$(ALL) $(GOTEST) -coverpkg=./... -coverprofile=coverage.out $(PACKAGES)
	$(GO) tool cover -html=coverage.out -o coverage.html
	$(GO) tool cover -func=coverage.out | tail -n 1

fmt: ## Format the Go code
	gofmt -l -w $$(git ls-files '*.go')

lint: go-version ## gofmt, go vet, golangci-lint (staticcheck among others), shellcheck
	@out=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$out" ] || { echo "gofmt: $$out" >&2; exit 1; }
	$(GO) vet -tags '$(TAGS)' $(PACKAGES)
	$(GO) run $(GOLANGCI_LINT) run --build-tags '$(TAGS)' $(PACKAGES)
	@if command -v shellcheck >/dev/null; then \
		git ls-files .ci testdata | xargs grep -lsE '^#!/bin/(ba)?sh' | xargs shellcheck -e SC1091 && echo 'shellcheck: ok'; \
	else echo 'shellcheck: skipped, not installed'; fi
	@testdata/binding-table | diff -u docs/binding.md - || { echo 'docs/binding.md is out of date: make binding-doc' >&2; exit 1; }

api-coverage: ## List the libostree functions that are not bound, and why; fail where a reason is missing
	@testdata/api-coverage

binding-doc: ## Write docs/binding.md, C functions and their Go methods, from the // C: lines
	testdata/binding-table > docs/binding.md

demo: deps build ## Pull, deploy, update and prune a sample image in a temporary sysroot
	testdata/demo/run

boot-test: deps-boot build ## Boot a deployed Debian image in QEMU, turn on fs-verity, update it, roll back, prune
	$(SUDO) testdata/boot/run '$(CACHE)'

boot-test-sid: deps-boot build ## The same with Debian sid, whose libostree can soft reboot: a soft reboot into an update
	$(SUDO) testdata/boot/run '$(CACHE)' sid

chroot-test: deps-boot ## make demo and make test in a fresh chroot with only Go, gcc and make
	$(SUDO) testdata/chroot/run '$(CACHE)'

clean: ## Remove what was built here (not CACHE)
	rm -rf bin coverage.out coverage.html
