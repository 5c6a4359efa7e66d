from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from app import limits
from app.analysis.colors import VariantColor, colors_of
from app.analysis.figures import METRICS
from app.store.plan import MOST_SEEDS, Plan
from app.web.demo import DEMO
from app.web.routes.experiments import ExperimentRequest
from app.web.specs import SpecRequest
from cct import own_poolings
from cct.architecture import ARCHITECTURE, own
from cct.catalog import poolings
from cct.named_datasets import DATASETS
from cct.named_models import MODELS
from cct.published import PUBLISHED
from cct.recipes import RECIPES

router = APIRouter(tags=["catalog"])


class ModelEntry(BaseModel):
    name: str
    image_size: int | None = Field(default=None, description="Side in pixels; null for models of texts")
    text_length: int | None = Field(default=None, description="In words; null for models of images")
    pooling: str
    own: dict[str, int | str] = Field(description="What its architecture has where a run's spec changes nothing of it")


class PoolingEntry(BaseModel):
    name: str = Field(description="For `pooling`; of an own one it stands for its code as it is now")
    full_name: str = Field(description="Of an own one the name and a checksum of its code, `mine@1f2e3d4c`")
    summary: str
    formula: str
    color: VariantColor
    file: str | None = Field(default=None, description="Of the folder of own poolings; null for those of the board")


class BrokenPooling(BaseModel):
    """Why a file of the folder of own poolings, or a variant in it, cannot be used."""

    file: str
    line: int = Field(description="0 where it is the file as a whole")
    error: str


class DatasetEntry(BaseModel):
    name: str
    title: str
    num_classes: int | None = Field(description="Null, as the other sizes, if known only when the files are read")
    train_size: int | None
    test_size: int | None
    image_size: int | None = Field(description="Side in pixels; null for texts and for images as large as the model's")
    has_texts: bool = Field(description="Texts instead of images")
    bundled: bool
    augmentation: str = Field(description="What `auto` stands for in a run's spec")


class RecipeEntry(BaseModel):
    name: str
    title: str
    values: dict[str, Any] = Field(description="What it sets of a spec")
    on: dict[str, dict[str, Any]] = Field(description="Values that are others on some datasets")


class PublishedEntry(BaseModel):
    name: str = Field(description="For `pretrained`")
    address: str
    model: str
    dataset: str = Field(description="`imagenet` is an image folder here")
    top1: float = Field(description="What it should give on that dataset, in percent")
    source: str


class MetricEntry(BaseModel):
    name: str
    label: str


class Limits(BaseModel):
    """The most that may be sent, and that is kept."""

    name_length: int = Field(default=limits.NAME_LENGTH, description="Characters of an experiment's name")
    note_length: int = Field(default=limits.NOTE_LENGTH, description="Characters of a note")
    author_length: int = Field(default=limits.AUTHOR_LENGTH, description="Characters of a user's name")
    tag_length: int = Field(default=limits.TAG_LENGTH, description="Characters of a tag")
    tags: int = Field(default=limits.TAGS, description="Tags of a run")
    priority: int = Field(default=limits.PRIORITY, description="Priorities go from minus this to this")
    runs_per_request: int = Field(default=limits.RUNS_PER_REQUEST, description="Runs that one request may queue")
    runs_per_page: int = Field(default=limits.RUNS_PER_PAGE, description="Runs of one page of the list")
    seeds_per_request: int = Field(default=limits.SEEDS_PER_REQUEST, description="New seeds that one request may add")
    planned_seeds: int = Field(default=MOST_SEEDS, description="Seeds that a plan may take")
    glances: int = Field(default=limits.GLANCES, description="Experiments that one request may ask for in short")
    pictured_variants: int = Field(default=limits.PICTURED_VARIANTS, description="Variants of an experiment in short")
    sparklines: int = Field(default=limits.SPARKLINES, description="Runs whose course one request may ask for")
    image_bytes: int = Field(default=limits.IMAGE_BYTES, description="Size of an image of the user's own")
    log_lines: int = Field(default=limits.LOG_LINES, description="Newest lines of a run's log that are kept")


class Catalog(BaseModel):
    """What can be chosen, the schemas of a run's spec and of a plan, a demo for `POST /experiments`, limits."""

    models: Sequence[ModelEntry]
    poolings: Sequence[PoolingEntry]
    broken_poolings: Sequence[BrokenPooling]
    poolings_folder: str = Field(description="Where own poolings are read, on the machine of the API")
    datasets: Sequence[DatasetEntry]
    recipes: Sequence[RecipeEntry]
    published: Sequence[PublishedEntry]
    metrics: Sequence[MetricEntry]
    spec_schema: dict[str, Any]
    plan_schema: dict[str, Any]
    demo: ExperimentRequest
    limits: Limits
    version: str


@router.get("/catalog", summary="List models, poolings, datasets, recipes, published weights and metrics")
def read_catalog(request: Request) -> Catalog:
    return _catalog(request.app.version, request.app.state.settings.poolings_folder)


def _catalog(version: str, poolings_folder: Path) -> Catalog:
    own = own_poolings.found()
    infos = {name: (name, info) for name, info in poolings().items()} | {
        name: (source.name, own_poolings.pooling_info(source.name)) for name, source in own.sources.items()
    }
    return Catalog(
        models=[
            ModelEntry(name=name, own=_own(name), **_pick(ModelEntry, asdict(config)))
            for name, config in MODELS.items()
        ],
        poolings=[
            PoolingEntry(
                name=name,
                full_name=full_name,
                summary=info.summary,
                formula=info.formula,
                color=color,
                file=f"{own.sources[name].file}.py" if name in own.sources else None,
            )
            for (name, (full_name, info)), color in zip(infos.items(), colors_of(list(infos)).values(), strict=True)
        ],
        broken_poolings=[BrokenPooling(**asdict(one)) for one in own.broken],
        poolings_folder=str(poolings_folder.absolute()),
        datasets=[
            DatasetEntry(name=name, has_texts=info.has_texts, **_pick(DatasetEntry, asdict(info)))
            for name, info in DATASETS.items()
        ],
        recipes=[RecipeEntry(name=name, **_pick(RecipeEntry, asdict(recipe))) for name, recipe in RECIPES.items()],
        published=[PublishedEntry(**asdict(one)) for one in PUBLISHED.values()],
        metrics=[MetricEntry(name=metric.name, label=metric.label) for metric in METRICS.values()],
        spec_schema=_spec_schema(own.sources),
        plan_schema=Plan.model_json_schema(),
        demo=ExperimentRequest.model_validate(DEMO),
        limits=Limits(),
        version=version,
    )


def _spec_schema(own: Iterable[str]) -> dict[str, Any]:
    """Of a pooling what can be chosen now; full names of earlier code are accepted, too."""
    schema = SpecRequest.model_json_schema()
    pooling = schema["properties"]["pooling"]
    pooling["enum"] = [*pooling.pop("examples"), *own]
    return schema


def _own(model: str) -> dict[str, int | str]:
    return {name: value for name in ARCHITECTURE if (value := own(model, name)) is not None}


def _pick(model: type[BaseModel], values: dict[str, Any]) -> dict[str, Any]:
    return {name: values[name] for name in model.model_fields if name in values}
