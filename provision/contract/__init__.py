"""What both sides of a connection know: what travels, where things lie on a host, and what follows from it.

Python 3.8, standard library alone, and nothing else of ours: it is sent to hosts inside the agent. Modules that hold
types alone (`release`, `requests`, `answers`, `events`, `history`) cost a host nothing: the agent names them in
annotations, and imports them for a type checker only.
"""
