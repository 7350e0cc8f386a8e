"""Tensor types that one kind of program alone reads, and the label in which an image says which ones its programs read.

Asked before an image is pulled, by who deploys or tries it, and on the host once it is there.
"""

from __future__ import annotations

import os
from typing import List, Mapping, Sequence

from .failure import REFUSED, Failure

# Only microsoft/BitNet's llama.cpp reads them; it reads upstream's as well.
FORK_TYPES = ("I2_S", "I8_S", "TL1", "TL2")
WHO_READS = "I2_S, TL1 and TL2 are read by builds of microsoft/BitNet alone; upstream reads TQ1_0 and TQ2_0."

# CUDA has no kernel for these: the CPU computes them, whatever n_gpu_layers says.
CPU_ONLY_TYPES = (*FORK_TYPES, "TQ1_0", "TQ2_0")

# Labels of an image with compiled programs.
TYPES_LABEL = "bitnet-provision.model-types"  # the types of ternary models that they read, with spaces between
PROFILE_LABEL = "bitnet-provision.profile"  # of native/CMakePresets.json
SOURCE_LABEL = "bitnet-provision.source"  # "llama.cpp" or "bitnet.cpp"
COMMIT_LABEL = "bitnet-provision.source-commit"
# Those that are compiled in where a variable of CMake is ON.
KERNELS = {"TL1": "BITNET_ARM_TL1", "TL2": "BITNET_X86_TL2"}


def is_llama_server(binary: str) -> bool:
    """Whether a program is llama-server or a build of it, as its name says; of any other nothing can be foretold."""
    return os.path.basename(binary).startswith("llama-server")


def unread(types: Sequence[str], read: Sequence[str]) -> List[str]:
    """Those of a model's types that a program which reads `read` of the ternary ones can't."""
    return [kind for kind in types if kind in FORK_TYPES and kind not in read]


def without_kernels(model: str, types: Sequence[str]) -> List[str]:
    """That a model holds ternary tensors which no GPU computes; nothing where it holds none."""
    held = [kind for kind in types if kind in CPU_ONLY_TYPES]
    said = f"{model} holds {', '.join(held)} tensors, which have no CUDA kernels: the CPU computes them anyway"
    return [said] if held else []


def check_image(subject: str, model: str, types: Sequence[str], image: str, labels: Mapping[str, str]) -> None:
    """Refuse a model that the programs in an image can't read; an image without our label tells nothing of that.

    Args:
        subject: who would serve it, for the sentence.
        model: which file it is.
        types: of its tensors.
        labels: the image's.

    Raises:
        Failure: it can't be served.
    """
    said = labels.get(TYPES_LABEL)
    wrong = [] if said is None else unread(types, said.split())
    if wrong:
        made = f"{labels.get(SOURCE_LABEL, 'llama.cpp')} {labels.get(COMMIT_LABEL, '')[:12]}".rstrip()
        kernels = "".join(f" --define {KERNELS[kind]}=ON" for kind in wrong if kind in KERNELS)
        raise Failure(
            REFUSED,
            f"{subject}: {model} holds {', '.join(wrong)} tensors, which the programs in {image} can't read.",
            why=f"They are of {made}, profile {labels.get(PROFILE_LABEL, '')}, and read {said}. {WHO_READS}",
            next_step=f"deploy image build bitnet-cpp{kernels}, push that and name it by digest; "
            "or convert the model to TQ2_0",
        )
