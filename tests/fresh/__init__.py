"""The README's first commands on machines that have nothing: bare Debian, from a clone to the last line.

python -m tests.fresh debian-12 root                        # all that a newcomer sees, with seconds
python -m tests.fresh debian-13 user --command 'make test'  # anything else there, from nothing
"""
