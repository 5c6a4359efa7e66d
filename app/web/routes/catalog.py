from fastapi import APIRouter, Request

from app.web import schemas

router = APIRouter(tags=["catalog"])


@router.get("/catalog", summary="List models, poolings, datasets and metrics")
def read_catalog(request: Request) -> schemas.Catalog:
    return schemas.catalog(request.app.version)
