"""What a GGUF file says about itself, and what it needs to run."""

from bitnet.model.facts import ModelFacts, read_model
from bitnet.model.fit import GpuPlan, memory_needed, plan_gpu_layers

__all__ = ["GpuPlan", "ModelFacts", "memory_needed", "plan_gpu_layers", "read_model"]
