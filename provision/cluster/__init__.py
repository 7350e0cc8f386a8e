"""A cluster as a target: the objects of a project applied, waited for, proven, and put back where that fails.

`wanted` renders, `changes` asks the API server what would change, `transaction` does it under `lease` and keeps
`inventory`; `moves` and `looks` are what verbs call. `client` alone speaks to an API server.
"""
