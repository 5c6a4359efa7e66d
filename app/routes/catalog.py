from fastapi import APIRouter, Request

from app import schemas
from app.dependencies import Store

router = APIRouter(tags=["catalog"])


@router.get("/catalog", summary="List models, poolings, datasets and metrics")
def read_catalog(request: Request) -> schemas.Catalog:
    return schemas.catalog(request.app.version)


@router.get("/healthz", summary="Check that the service and its database answer")
def check_health(store: Store) -> dict[str, str]:
    store.redis.ping()
    return {"status": "ok"}
