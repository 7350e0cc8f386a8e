#!/bin/sh
# deploy_vast.py with the Python of this checkout's environment, where it has one.
here=$(dirname "$0")
python=$here/.venv/bin/python
[ -x "$python" ] || python=python3
exec "$python" "$here/deploy_vast.py" "$@"
