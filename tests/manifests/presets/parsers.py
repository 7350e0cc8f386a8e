"""Asks the real parser of a model server what it makes of a command. Run by a Python that has the server:

    python parsers.py vllm serve …
    python parsers.py python3 -m sglang.launch_server …

It goes the way of the server's own program up to where it would start, and prints as JSON what each option came to.
Nothing of ours is imported.
"""

import json
import sys
from importlib.metadata import version


def vllm():
    import vllm.entrypoints.cli.serve as serve
    from vllm.entrypoints.cli.main import main

    found = []
    serve.ServeSubcommand.cmd = staticmethod(found.append)  # which would start it
    main()
    return found[0]


def sglang():
    from sglang.srt.server_args import prepare_server_args

    return prepare_server_args(sys.argv[1:])  # what comes next wants a GPU


if __name__ == "__main__":
    server = "vllm" if sys.argv[1] == "vllm" else "sglang"
    sys.argv = sys.argv[1:] if server == "vllm" else sys.argv[3:]
    args = {"vllm": vllm, "sglang": sglang}[server]()
    names = [word[2:].replace("-", "_") for word in sys.argv if word.startswith("--")]
    told = {name: getattr(args, name) for name in names}
    sys.stdout.write("\n" + json.dumps({"version": version(server), **told}, default=str) + "\n")
