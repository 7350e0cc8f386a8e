"""What stands before a host's programs: HAProxy, which decides who gets which request.

It knows nothing of transactions. `values` says what a front is, `render` is its configuration, `runtime` tells it and
asks it.
"""
