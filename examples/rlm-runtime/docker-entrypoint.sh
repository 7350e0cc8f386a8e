#!/bin/sh
# What the image is told: mcp-serve (HTTP on 8080, MCP at /mcp; for the one client on standard input, where there is
# one: docker run --interactive), worker (the queue's), or any program.
set -eu
case ${1:-mcp-serve} in
    mcp-serve)
        [ -p /dev/stdin ] || exec python3 -m src.server
        exec rlm mcp-serve
        ;;
    worker) exec python3 -m src.worker "${2:-9500}" ;;
    *) exec "$@" ;;
esac
