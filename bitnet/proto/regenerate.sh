#!/bin/sh
# Writes the stubs of supervisor.proto anew. PYTHON chooses an interpreter that has grpcio-tools.
#
# Stubs refuse to load under packages older than their generator, so an old one (grpcio-tools 1.74, protobuf 6.31)
# is used on purpose: those versions are the lower bounds of the extra `grpc` in pyproject.toml.
set -eu
cd "$(dirname "$0")/../.."
"${PYTHON:-python3}" -m grpc_tools.protoc --proto_path=. --python_out=. --pyi_out=. --grpc_python_out=. \
  bitnet/proto/supervisor.proto
