"""A real Kubernetes on this machine, for tests: compiled from pinned Go modules, in a network namespace of its own.

`parts` compiles it, `running` starts and ends it, `node` is what makes pods run; `python -m tests.cluster` is both for
people. Nothing of it is downloaded but through Go's module proxy.
"""
