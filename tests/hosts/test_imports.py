import subprocess
import sys

HEAVY = ["fabric", "invoke", "paramiko", "cryptography", "tenacity", "asyncio"]


def test_importing_hosts_imports_nothing_heavy() -> None:
    program = f"import sys, provision.hosts, provision.hosts.sandbox; print([m for m in {HEAVY} if m in sys.modules])"
    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert said.stdout.strip() == "[]"
