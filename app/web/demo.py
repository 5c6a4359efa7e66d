"""What a newcomer can queue at once: the demo experiment and examples of single runs."""

from typing import Any

EXAMPLES: dict[str, Any] = {
    "one run": {
        "model": "cct_2_3x2_32",
        "pooling": "seqpool_softmax_tokens",
        "dataset": "digits",
        "epochs": 20,
        "seed": 1,
    },
    "the reference recipe": {},
}
DEMO: dict[str, Any] = {
    "name": "Softmax in the pooling step (demo on digits)",
    "spec": {
        "model": "cvt_2_4_32",
        "kernel_size": 8,
        "embed_dim": 64,
        "dataset": "digits",
        "epochs": 25,
        "batch_size": 16,
        "lr": 0.001,
        "warmup_epochs": 2,
        "augmentation": "none",
    },
    "axes": {"pooling": ["seqpool", "seqpool_softmax_tokens", "seqpool_softmax_batch"], "seed": [0, 1, 2, 3]},
}
"""A small model and a recipe chosen so that within three minutes on two cores the three poolings differ in the order in
which they did on CIFAR-10 in hours. With larger steps the softmax of features often learns nothing at all."""
