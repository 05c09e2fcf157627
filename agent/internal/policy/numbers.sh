#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Writes numbers.txt from the constants of golang.org/x/sys in the version of
# go.mod: the numbers of system calls by ABI, and those of address families,
# protocols and the states of sockets.
set -eu
cd "$(dirname "$0")"
unix=$(go list -f '{{.Dir}}' golang.org/x/sys/unix)
{
	for pair in x64:amd64 i386:386 arm64:arm64 arm32:arm; do
		# SYS_SYSCALL_MASK is no call.
		sed -n 's/^\tSYS_\([A-Z0-9_]*\) *= \([0-9]*\)$/sys_\1 \2/p' "$unix/zsysnum_linux_${pair#*:}.go" |
			sed '/^sys_SYSCALL_MASK /d' | tr '[:upper:]' '[:lower:]' | sed "s,^,${pair%:*}/,"
	done
	# AF_MAX and BPF_TCP_MAX_STATES only count the others.
	cat "$unix/zerrors_linux.go" "$unix/ztypes_linux.go" |
		sed -n 's/^\t\(AF_[A-Za-z0-9]*\|IPPROTO_[A-Z0-9]*\|BPF_TCP_[A-Z0-9_]*\) *= \(0x[0-9a-f]*\)$/\1 \2/p' |
		sed -e '/_MAX/d' -e 's/^BPF_TCP_/TCP_/'
} >numbers.txt
