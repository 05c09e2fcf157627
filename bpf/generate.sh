#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Compiles the kernel programs and generates their bindings; called by go generate.
set -eu
command -v "$BPF2GO_CC" >/dev/null || {
	echo "generate: $BPF2GO_CC is missing: apt-get install clang-19 llvm-19 libbpf-dev linux-libc-dev" >&2
	exit 1
}

# Every type that export.bpf.c names gets a Go twin.
types=$(sed -n 's/^EXPORT_TYPE([a-z]*, \([a-z_]*\));/-type \1/p' include/export.bpf.c)

# shellcheck disable=SC2086 # one flag and one name per word
go tool bpf2go -target amd64,arm64 -no-global-types $types Wire include/export.bpf.c
go tool bpf2go -target amd64,arm64 -no-global-types Cgroup cgroup/cgroup.bpf.c
go tool bpf2go -target amd64,arm64 -no-global-types Process process/process.bpf.c
go tool bpf2go -target amd64,arm64 -no-global-types Site site/site.bpf.c
go tool bpf2go -target amd64,arm64 -no-global-types Lineage lineage/lineage.bpf.c
