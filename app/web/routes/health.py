from fastapi import APIRouter, Request, Response

from app.web.dependencies import Store
from app.web.metrics import render

router = APIRouter(tags=["health"])


@router.get("/healthz", summary="Tell that the process lives")
async def check_health() -> dict[str, str]:
    return {"status": "ok"}


@router.get("/readyz", summary="Check that the database answers and can be written to")
def check_readiness(store: Store) -> dict[str, str]:
    store.check_writable()
    return {"status": "ok"}


@router.get("/metrics", response_class=Response, summary="Measurements for Prometheus", include_in_schema=False)
def read_metrics(request: Request, store: Store) -> Response:
    body, media_type = render(store, request.headers.get("accept", ""))
    return Response(body, media_type=media_type)
