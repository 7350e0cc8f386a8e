"""Projects for Kubernetes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from provision.project.finish import finish
from provision.project.presets import with_preset
from provision.project.schema import Declaration, Project

IMAGE = "ghcr.io/acme/cres@sha256:" + "0123456789abcdef" * 4


def project(services: Mapping[str, Any], **head: Any) -> Project:
    """A project `cres` with an image."""
    presets = {name: with_preset(service) for name, service in services.items()}
    return finish(
        Declaration.model_validate({"project": {"name": "cres", "image": IMAGE, **head}, "services": presets})
    )


# One of each kind: a GPU with a model, copies under load, started by hand, a low port, a volume of its own, a batch.
CRES = project(
    {
        "llama": {
            "preset": "bitnet-server",
            "model": "models/bitnet-2b4t.gguf",
            "secrets": ["LLAMA_API_KEY"],
            "resources": {"memory": "4GB", "cpus": 4, "gpus": 1},
        },
        "fastapi": {
            "command": ["uvicorn", "src.api.main:app", "--host", "${listen}", "--port", "${port}"],
            "port": 8000,
            "after": ["llama"],
            "env": {
                "GREETING": "it's 5 $$ ; # 100%",
                "LLAMA_HEALTH_URL": "http://${services.llama.host}:${services.llama.port}/health",
                "ON": "yes",
            },
            "secrets": ["MINIO_ACCESS_KEY", "MINIO_SECRET_KEY"],
            "check": {"http": "/docs"},
            "drain": "10s",
            "replicas": 3,
            "scale": {"max": 20, "cpu": 70, "memory": 80},
            "resources": {"size": "small"},
            "expose": ["10.20.0.0/16", "2001:db8::/32"],
            "metrics": {"requests": "http_requests_total"},
            "scraped_by": ["monitoring"],
            "outbound": ["10.20.0.0/16:8080-8130", "0.0.0.0/0:443"],
        },
        "worker-gpu": {
            "preset": "worker",
            "command": ["python3", "-m", "src.backend.worker", "--for", "$$(HOSTNAME)"],
            "env": {"WORKER_MODE": "gpu"},
            "resources": {"cpus": 0.5},
        },
        "gate": {
            "command": ["gate", "--listen", "${port}"],
            "port": 443,
            "replicas": 2,
            "volumes": {"certificates": {"path": "/certificates", "size": "1GiB", "shared": True}},
        },
        "indexer": {
            "command": ["python3", "-m", "src.index"],
            "check": {"command": ["python3", "-m", "src.index", "--doctor"]},
            "volumes": {"index": {"path": "/srv/cres/index", "size": "10GiB"}},
        },
        "migrate": {
            "command": ["python3", "-m", "src.migrate"],
            "batch": True,
            "env": {"TO": "head"},
            "resources": {"memory": "1GB"},
        },
        "reindex": {"command": ["python3", "-m", "src.index", "--anew"], "batch": True, "on_demand": True},
    }
)
