"""What processors are called in images, where Go's names are used, and by uname(2)."""

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
