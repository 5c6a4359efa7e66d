"""How API and worker write their logs: one line or one JSON object per record, to standard error."""

import logging.config

from pythonjsonlogger.core import RESERVED_ATTRS

from app.settings import Settings


def configure(settings: Settings) -> None:
    """Sends the records of all loggers of this process through one handler."""
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "text": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"},
                "json": {
                    "()": "pythonjsonlogger.json.JsonFormatter",
                    "fmt": ["levelname", "name", "processName", "process", "message"],
                    "rename_fields": {"levelname": "level", "name": "logger"},
                    "reserved_attrs": [*RESERVED_ATTRS, "color_message"],  # uvicorn's, for terminals
                    "timestamp": True,
                },
            },
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": settings.log_format}},
            "root": {"level": "INFO", "handlers": ["stderr"]},
            # Each poll of a task and each request that the board itself makes would be a line.
            "loggers": {name: {"level": "WARNING"} for name in ("celery.worker.strategy", "httpx2")},
        }
    )
