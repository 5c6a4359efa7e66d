from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, SecretStr

from app.web.security import SESSION_SECONDS, Access

router = APIRouter(prefix="/session", tags=["session"])


def _access(request: Request) -> Access:
    return request.app.state.access  # type: ignore[no-any-return]


AccessDependency = Annotated[Access, Depends(_access)]


class Login(BaseModel):
    model_config = ConfigDict(extra="forbid")

    token: SecretStr


class Session(BaseModel):
    """What a page asks before it shows itself or a login."""

    token_needed: bool
    logged_in: bool


@router.get("", summary="Tell whether a token is needed and whether the caller is logged in")
async def read_session(request: Request, access: AccessDependency) -> Session:
    return Session(token_needed=access.needs_token, logged_in=access.refusal(request) is None)


@router.post("", response_model=Session, summary="Log in")
async def log_in(request: Request, response: Response, access: AccessDependency, login: Login) -> Session | Response:
    """The answer's cookie lets a browser in for a week."""
    if refusal := access.refusal_of(login.token.get_secret_value(), request):
        return refusal
    if access.needs_token:
        response.set_cookie(
            access.cookie,
            access.new_session(),
            max_age=SESSION_SECONDS,
            path=None,  # the browser takes that of the request, which a proxy may have put below a part of an address
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )
    return Session(token_needed=access.needs_token, logged_in=True)


@router.delete("", status_code=204, summary="Log out")
async def log_out(response: Response, access: AccessDependency) -> None:
    """Forgets the cookie in this browser; a new token is what makes all cookies worthless."""
    response.set_cookie(access.cookie, max_age=0, path=None, httponly=True, samesite="strict")
