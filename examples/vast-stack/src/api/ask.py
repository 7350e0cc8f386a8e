"""`python -m src.api.ask URL PROMPT`: one completion through the API; used as a check of the whole stack."""

import json
import sys
import urllib.request


def main() -> int:
    url, prompt = sys.argv[1:]
    body = json.dumps({"prompt": prompt, "tokens": 8}).encode()
    request = urllib.request.Request(f"{url}/generate", body, {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        completion = json.load(answer)["completion"]
    print(repr(completion))
    return 0 if completion else 1


if __name__ == "__main__":
    sys.exit(main())
