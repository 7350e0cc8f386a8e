"""One encoder per format and place; templates use them as filters.

A template of one format sees the encoders of that format alone, so that a shell's quotes cannot end up in a unit file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from provision.manifests.encoders.compose import compose_arg, compose_env, compose_number, compose_text
from provision.manifests.encoders.dockerfile import docker_arg, docker_string
from provision.manifests.encoders.gcloud import gcloud_env
from provision.manifests.encoders.kubernetes import k8s_arg, k8s_composed, k8s_env, k8s_number, k8s_text
from provision.manifests.encoders.monitoring import json_text, yaml_text
from provision.manifests.encoders.nginx import nginx_string
from provision.manifests.encoders.plain import line, plain
from provision.manifests.encoders.sam import sam_attribute, sam_env, sam_number, sam_ref, sam_secret, sam_text
from provision.manifests.encoders.shell import shell_arg, shell_env
from provision.manifests.encoders.supervisord import ini_value, supervisor_arg
from provision.manifests.encoders.systemd import systemd_arg, systemd_env, systemd_value
from provision.manifests.value import Format, Value, Variable

__all__ = [
    "ENCODERS",
    "ENV_ENCODERS",
    "compose_arg",
    "compose_env",
    "compose_number",
    "compose_text",
    "docker_arg",
    "docker_string",
    "gcloud_env",
    "ini_value",
    "json_text",
    "k8s_arg",
    "k8s_composed",
    "k8s_env",
    "k8s_number",
    "k8s_text",
    "line",
    "nginx_string",
    "plain",
    "sam_attribute",
    "sam_env",
    "sam_number",
    "sam_ref",
    "sam_secret",
    "sam_text",
    "shell_arg",
    "shell_env",
    "supervisor_arg",
    "systemd_arg",
    "systemd_env",
    "systemd_value",
    "yaml_text",
]

ENCODERS: Mapping[Format, tuple[Callable[[Value], str], ...]] = {
    Format.LAUNCHER: (plain, shell_arg),
    Format.SUPERVISORD: (plain, supervisor_arg, ini_value),
    Format.SYSTEMD: (plain, systemd_arg, systemd_value),
    Format.KUBERNETES: (k8s_text, k8s_number, k8s_arg),
    Format.COMPOSE: (compose_text, compose_number, compose_arg),
    Format.DOCKERFILE: (plain, docker_arg, docker_string),
    Format.NGINX: (plain, nginx_string),
    Format.UFW: (plain, shell_arg, line),
    Format.MONITORING: (plain, json_text, yaml_text),
    Format.PYTHON: (plain,),
    Format.SAM: (plain, sam_text, sam_number, sam_ref, sam_attribute, sam_secret),
    Format.GCLOUD: (plain, shell_arg),
}
ENV_ENCODERS: Mapping[Format, tuple[Callable[[Variable], str], ...]] = {
    Format.LAUNCHER: (shell_env,),
    Format.SUPERVISORD: (),
    Format.SYSTEMD: (systemd_env,),
    Format.KUBERNETES: (k8s_env, k8s_composed),
    Format.COMPOSE: (compose_env,),
    Format.DOCKERFILE: (),
    Format.NGINX: (),
    Format.UFW: (),
    Format.MONITORING: (),
    Format.PYTHON: (),
    Format.SAM: (sam_env,),
    Format.GCLOUD: (gcloud_env,),
}
