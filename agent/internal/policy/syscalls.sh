#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Writes syscalls.txt, the numbers of system calls by ABI and name, from the
# constants of golang.org/x/sys in the version of go.mod.
set -eu
cd "$(dirname "$0")"
unix=$(go list -f '{{.Dir}}' golang.org/x/sys/unix)
for pair in x64:amd64 i386:386 arm64:arm64 arm32:arm; do
	# SYS_SYSCALL_MASK is no call.
	sed -n 's/^\tSYS_\([A-Z0-9_]*\) *= \([0-9]*\)$/\1 \2/p' "$unix/zsysnum_linux_${pair#*:}.go" |
		grep -v '^SYSCALL_MASK ' | tr '[:upper:]' '[:lower:]' | sed "s/^/${pair%:*} /"
done >syscalls.txt
