"""All names that a run's spec may have, as text: `python -m cct --list`."""

from cct import own_poolings
from cct.catalog import poolings
from cct.named_datasets import DATASETS
from cct.named_models import IMAGE_MODELS, TEXT_MODELS
from cct.published import PUBLISHED


def listing() -> str:
    """Models, poolings, datasets and published weights, a line each."""
    sections = {
        "models": {name: f"{config.image_size} px, {config.depth} blocks" for name, config in IMAGE_MODELS.items()}
        | {name: f"{config.text_length} words, {config.depth} blocks" for name, config in TEXT_MODELS.items()},
        "poolings": {name: pooling.formula for name, pooling in poolings().items()},
        "poolings of your own": {
            source.name: own_poolings.pooling_info(source.name).formula
            for source in own_poolings.found().sources.values()
        }
        | {f"{broken.file}: broken": broken.error for broken in own_poolings.found().broken},
        "datasets": {name: info.title for name, info in DATASETS.items()},
        "published weights": {
            name: f"{weights.model} on {weights.dataset}, {weights.top1:.2f} %" for name, weights in PUBLISHED.items()
        },
    }
    return "\n".join(
        line
        for title, entries in sections.items()
        if entries
        for line in (title, *(f"  {name:41}{text}" for name, text in entries.items()))
    )
