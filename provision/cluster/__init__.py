"""A cluster as a target: the objects of a project applied, waited for, proven, and put back where that fails.

`moves` and `looks` are what verbs call, and `transaction` is what all of it is for. Below them are rooms, each of which
knows only those after it: `traffic` and `room`, `changing` and `waiting`, `kept`, `server`.
"""
