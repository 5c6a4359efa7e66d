from fastapi import APIRouter

from app.web.dependencies import Store
from app.web.events import WorkerList

router = APIRouter(prefix="/workers", tags=["workers"])


@router.get("", summary="List workers seen lately")
def list_workers(store: Store) -> WorkerList:
    return WorkerList(workers=store.workers())
