"""Swagger UI from files of our own: the security policy allows neither foreign nor inline scripts.

All addresses are relative to the page's, which a proxy may have put below a path."""

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, RedirectResponse, Response

PAGE = """<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8" />
    <meta name="viewport" content="width=device-width, initial-scale=1" />
    <title>CCT Board API</title>
    <link rel="icon" href="icon.svg" type="image/svg+xml" />
    <link rel="stylesheet" href="docs/files/swagger-ui.css" />
    <script defer src="docs/files/swagger-ui-bundle.js"></script>
    <script defer src="docs/start.js"></script>
  </head>
  <body><div id="swagger-ui"></div></body>
</html>
"""
START = 'SwaggerUIBundle({ url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true });\n'
FILES = ("fastapi_swagger", "resources")
"""Package and folder of Swagger UI's files. The package's own code is not used: its page has an inline script."""

router = APIRouter(prefix="/docs", include_in_schema=False)


@router.get("", response_class=HTMLResponse)
async def read_docs() -> str:
    return PAGE


@router.get("/")
async def without_slash() -> RedirectResponse:
    return RedirectResponse("../docs")


@router.get("/start.js")
async def read_start() -> Response:
    return Response(START, media_type="text/javascript")
