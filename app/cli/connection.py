"""The way to a board's API: whatever stands in it is told in one line that names the way out."""

import getpass
from typing import Any
from urllib.parse import quote

import httpx2 as httpx

from app.cli.output import UsageError
from app.limits import AUTHOR_HEADER, AUTHOR_LENGTH, RUNS_PER_PAGE
from app.proxies import DIRECT
from app.settings import Settings

SECONDS = 30.0
"""How long a board may take to answer."""
OTHER_BOARD = "name another board's address in CCTBOARD_URL"


class Missing(UsageError):
    """The board has no run or experiment of this id."""


def api_client(url: str | None = None, token: str | None = None) -> httpx.Client:
    """A client of the board at `url`, or of that in the settings, and so is the token. Raises `UsageError`."""
    settings = Settings()
    headers = {AUTHOR_HEADER: quote((settings.user or _account())[:AUTHOR_LENGTH])}
    if token or settings.token:
        headers["Authorization"] = f"Bearer {token or (settings.token and settings.token.get_secret_value())}"
        if not headers["Authorization"].isascii() or not headers["Authorization"].isprintable():
            raise UsageError("CCTBOARD_TOKEN: holds characters that no token has; copy it anew")
    try:
        return httpx.Client(base_url=url or settings.url, headers=headers, timeout=SECONDS, mounts=DIRECT)
    except httpx.InvalidURL as error:
        raise UsageError(f"CCTBOARD_URL: {url or settings.url!r} is no address ({error})") from error


def _account() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # in a container, a user without a name; until Python 3.13 a KeyError
        return ""


def ask(
    client: httpx.Client, method: str, path: str, body: Any = None, params: Any = None, has: str | None = None
) -> Any:
    """The API's answer; `has` is a key that every answer of a board to this question has. Raises `UsageError`."""
    response = _send(client, method, path, body, params)
    if response.status_code == 204:
        return None
    try:
        answer = response.json()
    except ValueError as error:
        raise _no_board(response) from error
    if has is not None and (not isinstance(answer, dict) or has not in answer):
        raise _no_board(response)
    return answer


def download(client: httpx.Client, path: str, kind: str, params: Any = None) -> bytes:
    """A file of the media type `kind`. Raises `UsageError`."""
    response = _send(client, "GET", path, None, params)
    if _kind(response) != kind:
        raise _no_board(response)
    return response.content


def list_runs(client: httpx.Client, most: int | None = None, **query: str) -> dict[str, Any]:
    """The API's list of the runs that match, newest first: all, or up to `most`, on however many pages."""
    found: dict[str, dict[str, Any]] = {}
    offset = 0
    while True:
        page = RUNS_PER_PAGE if most is None else min(RUNS_PER_PAGE, most - offset)
        answer = ask(client, "GET", "/runs", params=query | {"offset": offset, "limit": page}, has="runs")
        # By id: runs that were queued since the first page push others to the next one.
        found |= {run["id"]: run for run in answer["runs"]}
        offset += page
        if offset >= answer["total"] or offset == most:
            return {"runs": list(found.values()), "total": answer["total"]}


def path_of(kind: str, row_id: str, *rest: str) -> str:
    """The path of a run or an experiment. Raises `Missing` for what can be no id, as it could be another path."""
    if not (row_id.isascii() and row_id.isalnum()):
        raise Missing(f"there is no {kind} {row_id!r}")
    return "/".join((f"/{kind}s", row_id, *rest))


def _send(client: httpx.Client, method: str, path: str, body: Any, params: Any) -> httpx.Response:
    url = str(client.base_url).rstrip("/")
    try:
        is_file = isinstance(body, bytes)
        response = client.request(
            method, path, content=body if is_file else None, json=None if is_file else body, params=params
        )
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        reason = str(error) or "it takes too long"
        raise UsageError(
            f"no board answers at {url} ({reason}); start one with `cctboard up`, or {OTHER_BOARD}"
        ) from error
    except httpx.TimeoutException as error:
        raise UsageError(
            f"the board at {url} has not answered within {SECONDS:.0f} s; try again, or {OTHER_BOARD}"
        ) from error
    except httpx.RequestError as error:
        raise UsageError(
            f"the connection to {url} broke off ({error}); see whether a board runs there, or {OTHER_BOARD}"
        ) from error
    except UnicodeEncodeError as error:
        raise UsageError(f"{error.object!r} has characters that cannot be sent; write it in UTF-8") from error
    if response.is_redirect:
        target = response.headers["location"]
        raise UsageError(f"{url} sends its callers on to {target}; name the board's own address in CCTBOARD_URL")
    if response.is_error:
        raise _refused(response)
    return response


def _refused(response: httpx.Response) -> UsageError:
    if _kind(response) != "application/problem+json":
        return _no_board(response)
    if response.status_code == 401:
        has_token = "Authorization" in response.request.headers
        return UsageError(
            "the token is wrong; CCTBOARD_TOKEN must be the board's"
            if has_token
            else "the board wants its token; set CCTBOARD_TOKEN to it"
        )
    kind = Missing if response.status_code == 404 else UsageError
    return kind(response.json()["detail"])


def _no_board(response: httpx.Response) -> UsageError:
    """Something else than a board has answered: a proxy on the way, or another program."""
    status = f"{response.status_code} {response.reason_phrase}".strip()
    kind = _kind(response) or "nothing"
    return UsageError(
        f"{response.request.method} {response.url} is answered with {status} and {kind}, which no board does: see "
        f"whether a proxy or another program answers there, or {OTHER_BOARD}"
    )


def _kind(response: httpx.Response) -> str:
    """The media type of the body."""
    return str(response.headers.get("content-type", "")).partition(";")[0].strip().lower()
