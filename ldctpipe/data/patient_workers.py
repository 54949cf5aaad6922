"""Patients in parallel, by threads: what takes long is numpy's and the disk's, and a killed process has no orphans."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed, wait
from typing import TypeVar

Patient = TypeVar("Patient")
Result = TypeVar("Result")


class _Stopped(Exception):
    """Raised in a worker whose result nobody waits for any more."""


def each_patient(
    work: Callable[[Patient, Callable[[], None]], Result],
    patients: Sequence[Patient],
    workers: int,
    on_done: Callable[[Patient, Result], None],
) -> None:
    """Call `work(patient, stop_if_asked)` for each patient, and `on_done` here with what it returned, as they end.

    When one fails, no other is begun, those that are at work come to their end, and the error of the first of the
    failed in their order is raised. When this thread is interrupted, `stop_if_asked` raises in the workers.
    """
    asked = threading.Event()

    def stop_if_asked() -> None:
        if asked.is_set():
            raise _Stopped

    with ThreadPoolExecutor(workers, "patients") as pool:
        futures = {pool.submit(work, patient, stop_if_asked): patient for patient in patients}
        try:
            failed = _take(futures, on_done)
        except BaseException:
            asked.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if failed:
        raise failed


def _take(futures: dict[Future[Result], Patient], on_done: Callable[[Patient, Result], None]) -> BaseException | None:
    """Take results as they come; return the error of the first patient that failed, when no other is at work."""
    has_failed = False
    for future in as_completed(futures):
        if future.cancelled():
            continue
        if future.exception():
            has_failed = True
            for other in futures:
                other.cancel()
        else:
            on_done(futures[future], future.result())
    wait(futures)
    # Patients are begun in order, so that none before the first failure is left out.
    ended = [future for future in futures if not future.cancelled()]
    return next((error for future in ended if (error := future.exception())), None) if has_failed else None
