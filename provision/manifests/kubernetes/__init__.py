"""A project as what Kubernetes reads: `bundle` puts the files together, `workload` and `probes` gather the facts of a
service, `faults` refuses what a strict schema would let through and a cluster would not."""

from provision.manifests.kubernetes.bundle import render_kubernetes

__all__ = ["render_kubernetes"]
