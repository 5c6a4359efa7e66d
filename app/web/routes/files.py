"""What a run leaves behind, to take away: its checkpoints, its weights, its curves for TensorBoard."""

import io
import zipfile
from pathlib import Path
from typing import Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict

from app.analysis.tensorboard import event_file
from app.errors import NotFound
from app.settings import Settings
from app.web.dependencies import Store

router = APIRouter(prefix="/runs/{run_id}", tags=["runs"])

FileName = Literal["best.safetensors", "best.pt", "last.pt", "answers.npz"]
_ABOUT: dict[FileName, str] = {
    "best.safetensors": "weights of the best epoch under the reference's keys, once the run is completed",
    "best.pt": "checkpoint of the best epoch, for PyTorch",
    "last.pt": "checkpoint of the newest epoch with the optimizer's state, from which the run resumes",
    "answers.npz": "what was said of each validation image after last and best epoch, for NumPy, once completed",
}
# The middleware that compresses leaves a response with an encoding alone; weights do not shrink, and the length stays.
_AS_IT_IS = {"Content-Encoding": "identity"}


class RunFile(BaseModel):
    """A file of a run that can be downloaded."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    name: FileName
    about: str
    """What is in it."""
    bytes: int


@router.get("/files", summary="List a run's checkpoints and weights")
def list_files(request: Request, store: Store, run_id: str) -> list[RunFile]:
    """Those that are there yet: none before the first epoch has ended."""
    folder = _folder(request, store, run_id)
    paths = {name: folder / name for name in _ABOUT}
    return [
        RunFile(name=name, about=_ABOUT[name], bytes=path.stat().st_size)
        for name, path in paths.items()
        if path.is_file()
    ]


@router.get(
    "/files/{name}",
    summary="Download a checkpoint or the weights",
    response_class=FileResponse,
    responses={200: {"content": {"application/octet-stream": {}}}},
)
def download_file(request: Request, store: Store, run_id: str, name: FileName) -> FileResponse:
    """The file as it was when the download began: training replaces files whole."""
    path = _folder(request, store, run_id) / name
    if not path.is_file():
        raise NotFound("file of this run", name)
    return FileResponse(path, headers=_AS_IT_IS, media_type="application/octet-stream", filename=f"run-{run_id}-{name}")


@router.get(
    "/tensorboard",
    summary="Download a run's curves for TensorBoard",
    response_class=Response,
    responses={200: {"content": {"application/zip": {}}}},
)
def download_events(store: Store, run_id: str) -> Response:
    """A zip with a folder of the run's name; unpack it where `tensorboard --logdir` looks."""
    run = store.run(run_id)
    [records] = store.epochs([run_id])
    begun = int((run.started_at or run.created_at).timestamp())
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"run-{run_id}/events.out.tfevents.{begun}.cctboard", event_file(run, records))
    headers = _AS_IT_IS | {"Content-Disposition": f'attachment; filename="run-{run_id}-tensorboard.zip"'}
    return Response(buffer.getvalue(), media_type="application/zip", headers=headers)


def _folder(request: Request, store: Store, run_id: str) -> Path:
    """The run's checkpoints. Raises `NotFound` if there is no such run, so that no other folder can be named."""
    settings: Settings = request.app.state.settings
    return settings.checkpoints(store.run(run_id).id)
