"""Whether `torch.compile` works on this machine, which it finds out only in the midst of a step."""

import re
import secrets
import subprocess

import torch

LACKING = (
    "compile: on needs a C++ compiler and the headers of Python, which do not work here ({}); install them (on Debian "
    "and Ubuntu: apt install gcc g++ python3-dev), or use compile: off"
)


class CannotCompile(Exception):
    """There is no compiler, or it does not work; the message says what to install."""


def check_compiler(device: torch.device) -> None:
    """Compiles the smallest program as a step would be; it takes some seconds when it is done first on a machine.

    Raises `CannotCompile`.
    """
    new = secrets.randbelow(2**30)  # what was compiled before would be taken from PyTorch's files
    try:
        torch.compile(lambda x: x.sin() + new)(torch.ones(2, device=device))
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        raise CannotCompile(LACKING.format(_reason(str(error)))) from error


def _reason(said: str) -> str:
    """What the compiler complains of, which is not what PyTorch says first, or that there is none."""
    complaint = re.search(r"(?:fatal )?error: *(\S.*)", said) or re.search(r"\S.*", said)
    return complaint[0].strip().rstrip(".")[:200] if complaint else "it does not say why"
