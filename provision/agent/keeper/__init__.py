"""The keeper: who is at home on a host with traffic.

One a project, started and restarted by its supervisor, with our own account. It counts what users saw (`rings`), holds
that against what a rollout says (`judging`), and has each step taken by a process of its own (`scripts`, `..rolling`).
It decides nothing that is not in the state, holds no lock, and may be killed at any moment.

Its main process stays small: what brings much along, such as asking an engine for its figures (`tokens`), is done in a
child that ends.
"""
