"""The only reader of the environment: every setting is `CCTBOARD_<NAME>`."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, RedisDsn, UrlConstraints
from pydantic_settings import BaseSettings, SettingsConfigDict

BrokerUrl = Annotated[RedisDsn, UrlConstraints(allowed_schemes=["redis", "rediss"])]


class Settings(BaseSettings):
    """Settings shared by API, worker and command line; unknown or unsafe values are refused at start."""

    model_config = SettingsConfigDict(env_prefix="CCTBOARD_", frozen=True, use_attribute_docstrings=True)

    data: Path = Path("data")
    """Folder of everything that is kept: the database, datasets and checkpoints. Workers must share it."""
    redis_url: BrokerUrl = RedisDsn("redis://127.0.0.1:6379/0")
    """Redis or Valkey: the run store and Celery's broker."""
    url: str = "http://127.0.0.1:8000"
    """Where the command line finds the API."""
    allowed_hosts: list[str] = ["localhost", "127.0.0.1", "[::1]"]
    """Host names the API answers to; any other is refused, so that a foreign page cannot rebind its name to us."""
    lease_seconds: Annotated[float, Field(ge=3, le=600)] = 15
    """How long a worker may be silent before its run goes back to the queue."""
    stop_grace_seconds: Annotated[float, Field(ge=1, le=120)] = 8
    """How long a trainer may take to stop before it is killed."""
    stall_seconds: Annotated[float, Field(ge=5)] = 1_800
    """How long a trainer may make no step and print nothing before it is killed."""
    events_kept: Annotated[int, Field(ge=1_000, le=1_000_000)] = 20_000
    """Events that a page can miss and still continue from its last id."""

    datasets: Path | None = None
    """Folder of the datasets, if not `datasets` in the data folder."""

    @property
    def datasets_folder(self) -> Path:
        return self.datasets or self.data / "datasets"

    def checkpoints(self, run_id: str) -> Path:
        return self.data / "checkpoints" / run_id
