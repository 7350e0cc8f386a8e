"""A real API server of Kubernetes on this machine, for tests: compiled from pinned Go modules.

`parts` compiles it, `running` starts and ends it; `scripts/cluster` is both for people. Nothing of it is downloaded but
through Go's module proxy.
"""
