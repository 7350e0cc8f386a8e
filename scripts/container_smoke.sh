#!/bin/sh
# The smoke test from inside a container: is it healthy, does it answer, does it count?
#
#   scripts/container_smoke.sh [PORT [PATH...]]      default: $LLAMA_ARG_PORT, then 8081
#
# With paths, those are asked for, as of a service that is no model server; else a completion and metrics.
# Needs the image's probe, or curl. Exit status: 0 all passed, 1 a check failed. `deploy image smoke` does this from
# outside, boots and stops the container too, and writes what evidence is made of.
set -u
PORT=${1:-${LLAMA_ARG_PORT:-8081}}
SECONDS_TO_BOOT=${SECONDS_TO_BOOT:-120}

if command -v probe >/dev/null 2>&1; then
    ask() { probe -p "$PORT" -t 60 "$@"; }
elif command -v curl >/dev/null 2>&1; then
    ask() {
        if [ $# -eq 2 ]; then
            curl -fsS -m 60 -H 'Content-Type: application/json' -d "$2" "http://127.0.0.1:$PORT$1"
        else
            curl -fsS -m 60 "http://127.0.0.1:$PORT$1"
        fi
    }
else
    echo "container_smoke: neither probe nor curl is here" >&2
    exit 1
fi

fail() {
    printf 'FAILED: %s\n' "$1" >&2
    exit 1
}

waited=0
until ask /health >/dev/null 2>&1; do
    waited=$((waited + 1))
    [ "$waited" -le "$SECONDS_TO_BOOT" ] || fail "health: nothing healthy on port $PORT within $SECONDS_TO_BOOT s"
    sleep 1
done
echo "passed: health"

if [ $# -gt 1 ]; then
    shift
    for path; do
        ask "$path" >/dev/null || fail "$path: no answer of success"
        echo "passed: $path"
    done
    exit
fi

answer=$(ask /completion '{"prompt": "The capital of France is", "n_predict": 8}') || fail "completion: no answer"
case $answer in
    *'"tokens_predicted":0'*) fail "completion: no token" ;;
    *'"tokens_predicted":'*) echo "passed: completion" ;;
    *) fail "completion: not an answer of llama-server" ;;
esac

ask /metrics | grep -q '^llamacpp:tokens_predicted_total [1-9]' || fail "metrics: tokens are not counted"
echo "passed: metrics"
