#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Generates the Go code of the wire contracts; called by go generate.
set -eu
command -v protoc >/dev/null && [ -f /usr/include/google/protobuf/timestamp.proto ] || {
	echo "generate: protoc is missing: apt-get install protobuf-compiler libprotobuf-dev" >&2
	exit 1
}
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
GOBIN=$tools go install google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc
PATH=$tools:$PATH protoc -I . -I /usr/include \
	--go_out=. --go_opt=paths=source_relative \
	--go-grpc_out=. --go-grpc_opt=paths=source_relative \
	tetragon/*.proto boltseal/*.proto
