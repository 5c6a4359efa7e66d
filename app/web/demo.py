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
        "model": "cct_2_3x2_32",
        "dataset": "digits",
        "epochs": 3,
        "batch_size": 32,
        "lr": 0.002,
        "warmup_epochs": 1,
        "augmentation": "none",
    },
    "axes": {"pooling": ["seqpool", "seqpool_softmax_tokens", "seqpool_softmax_batch"], "seed": [0, 1, 2]},
}
