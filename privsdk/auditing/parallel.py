"""Several attackers at a time, each in a process of its own: most of their training holds Python's one lock."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from joblib import Parallel, delayed, parallel_config
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

IDLE = 60  # seconds after which a process that has nothing to do ends


def each(
    function: Callable[..., Any], arguments: Sequence[tuple[Any, ...]], processes: int
) -> Iterator[tuple[int, Any]]:
    """The result of ``function`` for each of the ``arguments``, with its number, as they come.

    One process is this one.  Nothing is written to a file on the way to another.
    """
    if processes == 1:
        for number, own in enumerate(arguments):
            yield _alone(function, number, own)
        return
    jobs = (delayed(_alone)(function, number, own) for number, own in enumerate(arguments))
    # Processes of an audit that was killed are soon gone.
    with parallel_config("loky", n_jobs=processes, idle_worker_timeout=IDLE):
        # Without max_nbytes joblib leaves arrays, somebody's photos among them, in files for its processes.
        yield from Parallel(return_as="generator_unordered", max_nbytes=None)(jobs)


def _alone(function: Callable[..., Any], number: int, arguments: tuple[Any, ...]) -> tuple[int, Any]:
    with warnings.catch_warnings(), threadpool_limits(1):  # the matrices are small: a second thread takes longer
        warnings.simplefilter("ignore", ConvergenceWarning)  # the number of passes is fixed on purpose
        return number, function(*arguments)
