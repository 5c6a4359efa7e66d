"""Would runs that differ only in their seed train faster as one stacked model than one after the other?

Alternates, on one device and in one process, a training step of each of N models in turn, and one step of the N models
stacked by `torch.func` (weights get a leading dimension; convolutions become grouped ones), forward, backward and AdamW
included, augmentation excluded. Dropout and stochastic depth are off in both. On a GPU both are replayed as CUDA
graphs, as runs are: launched one by one, the fewer operations of the stack would win for that alone.

Run: `python benchmarks/stacked_seeds.py [--seeds 2 4] [--rounds 15] [--precision fp32]`.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from cct.device import default_device, device_name
from cct.models import create_model
from cct.spec import RunSpec

Step = Callable[[], None]

ON_GPU = torch.cuda.is_available()


def in_turn(models: list[nn.Module], images: Tensor, labels: Tensor, precision: torch.autocast) -> Step:
    """A step of each model on its own batch."""
    optimizers = [torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True, capturable=ON_GPU) for model in models]

    def step() -> None:
        for model, optimizer, batch, target in zip(models, optimizers, images, labels, strict=True):
            with precision:
                logits = model(batch.contiguous(memory_format=torch.channels_last)).float()
            loss = F.cross_entropy(logits, target, label_smoothing=0.1)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()

    return step


def stacked(models: list[nn.Module], images: Tensor, labels: Tensor, precision: torch.autocast) -> Step:
    """One step of all models at once."""
    weights, buffers = stack_module_state(models)
    skeleton = copy.deepcopy(models[0]).to("meta")
    optimizer = torch.optim.AdamW(weights.values(), lr=1e-4, fused=True, capturable=ON_GPU)

    def loss_of(weights: dict[str, Tensor], buffers: dict[str, Tensor], batch: Tensor, target: Tensor) -> Tensor:
        logits = functional_call(skeleton, (weights, buffers), (batch,)).float()
        return F.cross_entropy(logits, target, label_smoothing=0.1)

    def step() -> None:
        with precision, sdpa_kernel(SDPBackend.MATH):  # the only attention that vmap can batch
            losses = vmap(loss_of)(weights, buffers, images, labels)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(losses.sum())  # the models share no weight, so each gets its own gradient
        optimizer.step()

    return step


def recorded(step: Step) -> Step:
    """The step as a CUDA graph, after a few by itself, on the stream that records."""
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    with torch.cuda.graph(graph, stream=stream):
        step()
    return graph.replay


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    options = parser.parse_args()
    device, spec = default_device(), RunSpec()
    precision = torch.autocast(device.type, torch.bfloat16, enabled=options.precision == "bf16")
    print(
        f"{device_name(device)}, torch {torch.__version__}, {spec.model}, batch {spec.batch_size}, {options.precision}"
    )
    for count in options.seeds:
        images = torch.randn(count, spec.batch_size, 3, 32, 32, device=device)
        labels = torch.randint(10, (count, spec.batch_size), device=device)
        arms: dict[str, Step] = {}
        for name, arm in (("in turn", in_turn), ("stacked", stacked)):
            models: list[nn.Module] = [
                create_model(spec.model, attention_dropout=0, stochastic_depth=0, seed=seed).to(device)
                for seed in range(count)
            ]
            step = arm(models, images, labels, precision)
            arms[name] = recorded(step) if ON_GPU else step
            arms[name]()
        rates: dict[str, list[float]] = {name: [] for name in arms}
        for _ in range(options.rounds):
            for name, step in arms.items():
                began = time.perf_counter()
                step()
                if device.type == "cuda":
                    torch.cuda.synchronize()
                rates[name].append(count * spec.batch_size / (time.perf_counter() - began))
        ratios = [both / each for both, each in zip(rates["stacked"], rates["in turn"], strict=True)]
        shown = ", ".join(f"{name} {statistics.median(measured):.0f} images/s" for name, measured in rates.items())
        print(f"{count} seeds: {shown}; ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
