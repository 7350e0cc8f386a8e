"""The host's own front: several projects of one account at one port, told apart by the names that clients ask for.

A project has its ports to itself until another one declares the same. Then a HAProxy of the account's own listens there
and hands each connection on, to the project whose the name is: by the `Host` of each request, or, where it is TLS, by
the name that the client's first message has, unread. So a project's keys stay its own. `book` is what is written down,
`claims` what follows from that (pure), `placed` what of it a project's keeper has to know, `program` the HAProxy
itself, `moving` how a port changes hands, `mending` how it is put right.

Never across accounts: a book is one account's, and a port that another account's program holds is refused.
"""
