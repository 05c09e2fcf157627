// SPDX-License-Identifier: Apache-2.0

package bpf

// The compiler is Debian's package clang-19; other versions make other bytes.
// Kernel headers are those of linux-libc-dev, helpers those of libbpf-dev.

//go:generate env BPF2GO_CC=clang-19 BPF2GO_STRIP=llvm-strip-19 "BPF2GO_CFLAGS=-O2 -g -Wall -Werror -mcpu=v3 -I include -I lib -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu" sh generate.sh
