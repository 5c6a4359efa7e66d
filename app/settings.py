"""The only reader of the environment: every setting is `CCTBOARD_<NAME>`."""

import os
import secrets
import tempfile
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote, urlsplit

from pydantic import (
    DirectoryPath,
    Field,
    HttpUrl,
    RedisDsn,
    Secret,
    SecretStr,
    UrlConstraints,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SecretsSettingsSource, SettingsConfigDict

BrokerUrl = Annotated[RedisDsn, UrlConstraints(allowed_schemes=["redis", "rediss"])]


class Settings(BaseSettings):
    """Settings shared by API, worker and command line; unknown or unsafe values are refused at start."""

    model_config = SettingsConfigDict(
        env_prefix="CCTBOARD_",
        frozen=True,
        use_attribute_docstrings=True,
        validate_default=True,
        hide_input_in_errors=True,
    )

    secrets: DirectoryPath | None = None
    """Folder whose files `cctboard_token` and `cctboard_redis_password` hold what the environment does not."""
    token: Annotated[SecretStr, Field(min_length=16)] | None = None
    """Whoever has it may use the API; without one the API listens to its own machine only."""
    redis_password: SecretStr | None = None
    """Password of the database, if not in `redis_url`."""
    redis_url: Annotated[BrokerUrl, Field(repr=False)] = RedisDsn("redis://127.0.0.1:6379/0")
    """Redis or Valkey: the run store and Celery's broker. Has the password, so it is for clients and not for logs."""
    data: Path = Path("data")
    """Folder of everything that is kept: the database, datasets and checkpoints. Workers must share it."""
    url: str = "http://127.0.0.1:8000"
    """Where the command line finds the API, and where the webhook's links lead, if not to the port it listens on.
    May end with a path."""
    user: str = ""
    """Who you are on a board that several people share: shown with what you queue and with your notes. Without it the
    command line gives the name of your account."""
    webhook: Secret[HttpUrl] | None = None
    """Where the API posts when an experiment has ended or runs have failed; who knows the address may post there."""
    allowed_hosts: list[str] = ["localhost", "127.0.0.1", "[::1]"]
    """Host names the API answers to; any other is refused, so that a foreign page cannot rebind its name to us."""
    lease_seconds: Annotated[float, Field(ge=3, le=600)] = 15
    """How long a worker may be silent before its run goes back to the queue."""
    stop_grace_seconds: Annotated[float, Field(ge=1, le=120)] = 8
    """How long a trainer may take to stop before it is killed."""
    stall_seconds: Annotated[float, Field(ge=5)] = 1_800
    """How long a trainer may make no step and print nothing before it is killed."""
    slots: Annotated[int, Field(ge=1, le=64)] | Literal["auto"] = 1
    """How many runs a worker trains at the same time; `auto`: as many as it measures to be best when it starts."""
    events_kept: Annotated[int, Field(ge=1_000, le=1_000_000)] = 20_000
    """Events that a page can miss and still continue from its last id."""

    log_format: Literal["text", "json"] = "text"
    """How API and worker write their logs: as lines to read, or as one JSON object per line."""
    datasets: Path | None = None
    """Folder of the datasets, if not `datasets` in the data folder."""
    poolings: Path | None = None
    """Folder of your own poolings, if not `poolings` in the data folder; only the API reads it."""

    @field_validator("url")
    @classmethod
    def _is_web_address(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:  # an odd port, half an IPv6 address
            is_address = False
        if not is_address:
            raise PydanticCustomError("url", "write it as http://HOST:PORT")
        return url

    @field_validator("redis_url", mode="before")
    @classmethod
    def _is_escaped(cls, url: object) -> object:
        password = str(url).partition("://")[2].rpartition("@")[0]
        if found := sorted(set(password) & set("#/?")):
            escaped = ", ".join(f"{character} as {quote(character, safe='')}" for character in found)
            raise PydanticCustomError(
                "url_parsing", f"write {escaped} in its password, or set CCTBOARD_REDIS_PASSWORD instead"
            )
        return url

    @field_validator("token", mode="before")
    @classmethod
    def _without_blanks(cls, token: object) -> object:
        """As whoever pastes it into a file or a shell may bring some along."""
        return token.strip() if isinstance(token, str) else token

    @field_validator("redis_url")
    @classmethod
    def _with_password(cls, url: RedisDsn, info: ValidationInfo) -> RedisDsn:
        password: SecretStr | None = info.data.get("redis_password")
        if password is None:
            return url
        return RedisDsn.build(
            scheme=url.scheme,
            username=url.username,
            password=quote(password.get_secret_value(), safe=""),
            host=url.host or "localhost",
            port=url.port,
            path=(url.path or "").removeprefix("/"),
            query=url.query,
        )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        folder = os.environ.get("CCTBOARD_SECRETS")
        if folder is None or not Path(folder).is_dir():  # which the field `secrets` refuses
            return init_settings, env_settings
        return init_settings, env_settings, SecretsSettingsSource(settings_cls, folder)

    @property
    def names_database(self) -> bool:
        """Whether a database was named; without one `cctboard up` brings its own."""
        return not self.model_fields_set.isdisjoint({"redis_url", "redis_password"})

    @property
    def datasets_folder(self) -> Path:
        return self.datasets or self.data / "datasets"

    @property
    def poolings_folder(self) -> Path:
        return self.poolings or self.data / "poolings"

    def run_folder(self, run_id: str) -> Path:
        """Everything that is kept of a run in files."""
        return self.data / "checkpoints" / run_id

    def checkpoints(self, run_id: str) -> Path:
        """The folder of the run's checkpoints: of its newest attempt, of which each has a folder of its own.

        Without one, which is a run of version 0.1 or from an archive, the run's folder itself.
        """
        folder = self.run_folder(run_id)
        attempts = [int(path.name) for path in folder.glob("[0-9]*") if path.name.isdecimal()]
        return folder / str(max(attempts)) if attempts else folder


def make_secrets(folder: Path) -> str | None:
    """Makes the files that `Settings.secrets` is to name, each unless it is there; returns the token if it is new."""
    folder.mkdir(parents=True, exist_ok=True)
    _make_secret(folder / "cctboard_redis_password")
    return _make_secret(folder / "cctboard_token")


def _make_secret(path: Path) -> str | None:
    """The new file is complete when it appears, also if two processes make it: one of them has made it."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent) as file:
        os.fchmod(file.fileno(), 0o640)
        file.write(secret := secrets.token_urlsafe(32))
        file.flush()
        os.fsync(file.fileno())
        try:
            os.link(file.name, path)
        except FileExistsError:
            return None
    return secret
