"""What the first charts of a new process would else have to wait for."""

import logging

import orjson
from redis.exceptions import RedisError

from app.analysis import comparison, figures
from app.errors import BoardError
from app.store.database import trouble
from app.store.run_store import RunStore

RUNS, RECORDS = 200, 20_000
"""Of the newest runs so many at most, with so many epochs in all: what is decoded makes requests wait meanwhile."""

logger = logging.getLogger(__name__)


def read_ahead(store: RunStore) -> None:
    """Reads all runs and the epochs of the newest, and draws charts of them, which imports what charts need."""
    try:
        epochs, newest = 0, []
        for run in store.runs()[:RUNS]:
            epochs += run.epoch
            if epochs > RECORDS:
                break
            newest.append(run)
        records = dict(zip([run.id for run in newest], store.epochs([run.id for run in newest]), strict=True))
        orjson.dumps(figures.curves(newest, records))
        compared = comparison.compare(newest)
        figures.final_results(newest, compared).to_json()
        figures.differences(newest, compared).to_json()
    except RedisError as error:
        logger.warning("nothing was read ahead: %s", trouble(error))
    except BoardError:
        pass  # whoever asks for these runs will be told
