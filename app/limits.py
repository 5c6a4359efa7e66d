"""The limits of what users may send: server, command line and, by way of `GET /catalog`, pages take them from here."""

NAME_LENGTH = 200
"""Characters of an experiment's name, of a text to search for, of an idempotency key and of a report's title."""
NOTE_LENGTH = 10_000
AUTHOR_HEADER = "CCTBoard-User"
"""The header that names who asks, which is kept with the runs they queue and the notes they write; whoever has the
board's token is believed."""
AUTHOR_LENGTH = 60
TAG_LENGTH = 50
TAGS = 20
"""A run has at most as many."""
PRIORITY = 100
"""Priorities go from minus this to this."""
RUNS_PER_REQUEST = 1_000
"""Most runs that one request may queue."""
VARIANTS_PER_EXPERIMENT = 100
"""Most variants that an experiment may name."""
RUNS_PER_PAGE = 1_000
"""Most runs of one page of the list."""
SEEDS_PER_REQUEST = 100
"""Most new seeds that one request may add to an experiment."""
GLANCES = 60
"""Experiments that one request may ask for in short."""
PICTURED_VARIANTS = 6
"""Most variants of an experiment in short."""
SPARKLINES = 250
"""Runs whose course, or whose places in the queue, one request may ask for: as many as a page lists, and as fit into an
address."""
BODY_BYTES = 1_000_000
IMAGE_BYTES = 5_000_000
"""An image of the user's own, the only body that is not JSON, may be larger."""
LOG_LINES = 5_000
"""Newest lines of a run's log that are kept."""
