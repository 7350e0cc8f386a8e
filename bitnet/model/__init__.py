"""What a GGUF file says about itself, and what it needs to run."""

from bitnet.errors import ModelUnusable
from bitnet.model.facts import ModelFacts, PartFacts, model_of, part_of, read_model, read_part
from bitnet.model.fit import GpuPlan, Serving, largest_context, memory_needed, plan_gpu_layers, vram_needed
from bitnet.model.header import BadHeader, CutShort, Header, header_of
from bitnet.model.types import BITNET_CPP_TYPES, CPU_ONLY_TYPES

__all__ = [
    "BITNET_CPP_TYPES",
    "CPU_ONLY_TYPES",
    "BadHeader",
    "CutShort",
    "GpuPlan",
    "Header",
    "ModelFacts",
    "ModelUnusable",
    "PartFacts",
    "Serving",
    "header_of",
    "largest_context",
    "memory_needed",
    "model_of",
    "part_of",
    "plan_gpu_layers",
    "read_model",
    "read_part",
    "vram_needed",
]
