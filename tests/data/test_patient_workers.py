"""Patients at work at a time: whose fault is told, who comes to an end, who is not begun."""

from __future__ import annotations

import threading
import time

import pytest

from ldctpipe.data.patient_workers import each_patient


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_the_first_patient_at_fault_is_told_whichever_fails_first(workers):
    done = []

    def work(patient, _):
        time.sleep(0.05 * max(1, 3 - patient))  # of the first three, the later ones are the quicker ones
        if patient in (1, 2):
            raise ValueError(f"patient {patient}")
        return patient

    with pytest.raises(ValueError, match="patient 1"):
        each_patient(work, range(40), workers, lambda patient, _: done.append(patient))

    assert 0 in done  # was at work, and came to its end
    assert 39 not in done


def test_an_interruption_stops_those_at_work():
    stopped = []

    def work(patient, stop_if_asked):
        try:
            for _ in range(500):
                stop_if_asked()
                time.sleep(0.01)
        finally:
            stopped.append(patient)

    def interrupt(*_):
        raise KeyboardInterrupt

    def work_or_end(patient, stop_if_asked):
        if patient:
            work(patient, stop_if_asked)

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        each_patient(work_or_end, range(9), 3, interrupt)

    assert time.monotonic() - started < 4
    assert set(stopped) <= {1, 2, 3}
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("patients")]
