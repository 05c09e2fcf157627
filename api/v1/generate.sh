#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Generates the Go code of the wire contracts; called by go generate. protoc is
# Debian's, its plugins are those of go.mod.
set -eu
cd "$(dirname "$0")"
protoc=3.21.12 # of Debian 12 and 13; generated files name it

fail() {
	echo "generate: $1" >&2
	exit 1
}
command -v protoc >/dev/null || fail "protoc is missing: apt-get install protobuf-compiler"
version=$(protoc --version)
[ "$version" = "libprotoc $protoc" ] ||
	fail "protoc is $version, want libprotoc $protoc: another version generates other files"
[ -f /usr/include/google/protobuf/timestamp.proto ] ||
	fail "protoc's own .proto files are missing in /usr/include: apt-get install libprotobuf-dev"

# The plugins run here, whatever the build is for; go generate sets these too.
unset GOOS GOARCH
go=$(go tool -n protoc-gen-go)
grpc=$(go tool -n protoc-gen-go-grpc)
protoc -I . -I /usr/include \
	--plugin=protoc-gen-go="$go" --go_out=. --go_opt=paths=source_relative \
	--plugin=protoc-gen-go-grpc="$grpc" --go-grpc_out=. --go-grpc_opt=paths=source_relative \
	tetragon/*.proto boltseal/*.proto
