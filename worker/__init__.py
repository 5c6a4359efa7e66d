"""The Celery worker: the only place where `cct` meets the run store."""
