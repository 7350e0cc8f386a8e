"""The page: what the verbs know, for people who would rather look than read. It changes nothing.

Nothing here is a second truth: hosts are asked by the functions that `status`, `traffic`, `history`, `evidence` and
`model list` call, once for all who look on (`poller`). A page is parts of HTML that a view makes of what is known
(`views`), sent anew where they differ (`live`), to browsers that came by the one-time address (`guard`).
"""
