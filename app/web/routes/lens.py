import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, Field

from app.errors import Invalid
from app.store.own_images import OwnImages
from app.web.dependencies import SelectedRuns, Store

router = APIRouter(tags=["lens"])


class LensImage(BaseModel):
    label: int
    url: str = Field("", description="A data URL of a PNG or JPEG file; empty for a text")
    words: list[str] = Field([], description="Those that the models are given of a text")


class Look(BaseModel):
    """What a model makes of the images at the end of an epoch; lists are by image."""

    epoch: int
    shares: list[list[float]] = Field(
        description="Each token's share, row by row over the square token grid, or each word's of a text; sums to 1"
    )
    entropy: list[float] = Field(description="How evenly the shares are spread: their entropy in nats")
    predicted: list[int]
    confidence: list[float] = Field(description="Probability of the predicted class")


class LensRun(BaseModel):
    run_id: str
    pooling: str
    seed: int
    dataset: str
    looks: list[Look]


class Lens(BaseModel):
    images: dict[str, list[LensImage]] = Field(description="By dataset")
    class_names: dict[str, list[str]] = Field(description="By dataset, in the order of labels; empty without names")
    runs: list[LensRun]


class OwnImageRun(BaseModel):
    run_id: str
    looks: dict[Literal["last", "best"], Look] = Field({}, description="By checkpoint; lists have one image")
    error: str | None = Field(None, description="Why there are none")


class OwnImage(BaseModel):
    """An image of the user's own and what runs make of it, as far as workers have looked."""

    id: str
    done: bool
    error: str | None = Field(description="Why no run could look at it")
    images: dict[str, str] = Field(description="By dataset: as its models see it, a data URL of a PNG file")
    runs: list[OwnImageRun] = Field(description="Those that have looked")


FILE: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The file as it is",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


async def _image_file(request: Request) -> bytes:
    """A worker will decode it; what is no image at all need not wait for one."""
    file = await request.body()
    is_webp = file[:4] == b"RIFF" and file[8:12] == b"WEBP"
    if not (is_webp or file.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a"))):
        raise Invalid("image", "is not a PNG, JPEG, WebP or GIF file; save it as one of these")
    return file


@router.get("/lens", summary="See what the pooling step looks at")
def read_lens(store: Store, runs: SelectedRuns) -> Lens:
    """For the same few test images or texts the share of each token or word, the prediction and its confidence, in
    chosen epochs."""
    looks = store.looks(run.id for run in runs)
    seen = [
        LensRun(
            run_id=run.id,
            pooling=run.spec.pooling,
            seed=run.spec.seed,
            dataset=run.spec.source,
            looks=[Look.model_validate(look) for look in of_run],
        )
        for run, of_run in zip(runs, looks, strict=True)
    ]
    class_names = {run.spec.source: run.class_names for run in runs}
    images = {source: [LensImage.model_validate(image) for image in store.images(source)] for source in class_names}
    return Lens(images=images, class_names=class_names, runs=seen)


@router.post("/lens/images", status_code=202, summary="Show runs an image of your own", openapi_extra=FILE)
def show_image(
    store: Store, runs: SelectedRuns, file: Annotated[bytes, Depends(_image_file)], response: Response
) -> OwnImage:
    """PNG, JPEG, WebP or GIF, at most 5 MB, kept for an hour at most. A worker looks, also one that is training; the
    answer is at the address in `Location`, and an event `own_image` tells when there is more of it."""
    own_images = OwnImages(store)
    image_id = own_images.ask(file, [run.id for run in runs])
    response.headers["Location"] = f"images/{image_id}"  # relative, as a run's
    return _own_image(image_id, own_images.found(image_id))


@router.get("/lens/images/{image_id}", summary="See what runs make of an image of your own")
def read_image(store: Store, image_id: str) -> OwnImage:
    """Prediction, confidence and the share of each token, with the last and the best checkpoint of each run."""
    return _own_image(image_id, OwnImages(store).found(image_id))


def _own_image(image_id: str, fields: dict[str, str]) -> OwnImage:
    said = {name.removeprefix("run:"): json.loads(value) for name, value in fields.items() if name.startswith("run:")}
    return OwnImage(
        id=image_id,
        done=fields["done"] == "1",
        error=fields.get("error") or None,
        images={name.removeprefix("image:"): url for name, url in fields.items() if name.startswith("image:")},
        runs=[OwnImageRun(run_id=run_id, **said[run_id]) for run_id in json.loads(fields["runs"]) if run_id in said],
    )
