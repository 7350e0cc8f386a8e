"""A project as the files that places read. Pure: no network, no clock; the same input gives the same bytes.

`render_lanes` gives what each lane of a project is on a target. Behind it: `places` knows names, paths and ports;
`launcher` and `programs` gather facts; `templates` turns them into text, and lets `encoders` alone print a value.
A further format is a `Format`, a module in `encoders`, a folder in templates/, and a module that gathers its facts.
"""

from provision.manifests.lanes import render_lanes, traffic

__all__ = ["render_lanes", "traffic"]
