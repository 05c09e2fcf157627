# SPDX-License-Identifier: Apache-2.0
# Every verb sets up what it needs first (.tools/need); as root on Debian it
# installs missing packages, elsewhere it names them and fails.

PREFIX  ?= /usr/local
DESTDIR ?=
# How long make test-long fuzzes each target.
FUZZTIME ?= 10m
# Narrows make bench, and how long it measures each thing.
BENCH     ?= .
BENCHTIME ?= 3s
# Narrows make test, as in: make test ARGS='-run TestSeal'.
ARGS ?=
# Narrows make test-lab, as in: make test-lab LABARGS='--column 6.1'.
LABARGS ?=

GO       ?= go
VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS  := -s -w -X main.version=$(VERSION)
BINARIES := bin/boltseald bin/boltseal bin/boltseal-hook bin/boltseal-nri

# -buildvcs=false: the version comes from above, and git refuses to describe a
# checkout that belongs to another user.
GOBUILD = CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o $@

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: build generate verify lint test test-lab lab-kernel test-long demo bench install clean help $(BINARIES)

build: $(BINARIES) ## build bin/boltseald, boltseal, boltseal-hook and boltseal-nri (needs Go alone)

bin/boltseald bin/boltseal: bin/%:
	@.tools/need build
	$(GOBUILD) ./agent/cmd/$*

bin/boltseal-hook:
	@.tools/need build
	$(GOBUILD) ./hook

bin/boltseal-nri:
	@.tools/need build
	$(GOBUILD) ./nri-plugin

generate: ## regenerate protobuf code, kernel objects and their Go bindings
	@.tools/need generate
	$(GO) generate ./...

verify: ## prove that all generated files and go.mod are what their sources say
	@.tools/need verify
	@.tools/verify

lint: ## gofmt, go vet and golangci-lint, each rule with its reason in .golangci.yml
	@.tools/need lint
	@.tools/lint

test: ## unit, kernel and runc tests; as root all of them, else those that can run
	@.tools/need test
	@$(GO) run ./test/testenv/cmd/testsum $(ARGS)

# -count=1: what boots, and what is in the cache, are no inputs that Go knows of.
test-lab: ## the same and more on five other kernels, in QEMU: a table of what works where
	@.tools/need test-lab
	$(GO) test -count=1 -tags lab ./test/lab/...
	@$(GO) run ./test/lab/cmd/lab test $(LABARGS)

lab-kernel: ## build the lab's kernel with error injection into the cache (20 minutes; BOLTSEAL_LAB_KERNEL names a ready one)
	@.tools/need lab-kernel
	@$(GO) run ./test/lab/cmd/lab kernel

test-long: ## a million pairs through both evaluators, 10,000 programs of processes, long tests on every kernel, then each fuzz target for FUZZTIME (10m)
	@.tools/need test-long
	$(GO) test ./agent/internal/engine -run Alike -boltseal.pairs=1000000 -timeout 1h
	$(GO) test -count=1 ./test/truth -boltseal.programs=10000 -timeout 2h
	@$(GO) run ./test/lab/cmd/lab test --long
	@.tools/fuzz $(FUZZTIME)

demo: build ## seal two real runc containers and kill a forbidden act in one of them
	@.tools/need demo
	@bin/boltseal demo

bench: ## measure the seal path, the hook, a site and the stream of events, each beside its baseline
	@.tools/need bench
	@$(GO) test -run '^$$' -bench '$(BENCH)' -benchtime $(BENCHTIME) -timeout 30m ./test/bench ./agent/internal/engine ./agent/internal/control ./agent/internal/seal ./agent/internal/reader ./agent/internal/daemon

install: build ## install the binaries below DESTDIR/PREFIX (/usr/local)
	install -d '$(DESTDIR)$(PREFIX)/bin'
	install -m 0755 $(BINARIES) '$(DESTDIR)$(PREFIX)/bin/'

clean: ## remove what build made
	rm -rf bin

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
