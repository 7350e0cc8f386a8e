"""What runs on a host: facts, sealing, and the transaction that commits or puts everything back.

Shipped to hosts as one zip, with `contract`, and unpacked once under `PATH/.deploy/agents/DIGEST/deploy_agent/agent`.
Standard library only, Python 3.8 and up, and it imports nothing else of ours but `contract`, so that a host needs
nothing but a `python3`.
"""
