"""Wall-clock and processor time of one call, of two alternating calls, and of each epoch of `fit`."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import keras


def seconds(work: Callable[[], object]) -> float:
    """Returns the wall-clock seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def processor_seconds(work: Callable[[], object]) -> float:
    """Returns the processor seconds of one call, summed over the threads of this process."""
    start = time.process_time()
    work()
    return time.process_time() - start


def taking_turns(
    ours: Callable[[], object],
    theirs: Callable[[], object],
    repeats: int,
    measure: Callable[[Callable[[], object]], float] = seconds,
) -> tuple[float, float]:
    """Returns the median seconds of each; the calls alternate, so that changes in the machine's load affect both."""
    pairs = [(measure(ours), measure(theirs)) for _ in range(repeats)]
    return statistics.median(pair[0] for pair in pairs), statistics.median(pair[1] for pair in pairs)


class EpochTimes(keras.callbacks.Callback):
    """Records `seconds` of each epoch, including validation. The first epoch also traces the graph."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []
        self._start = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.seconds.append(time.perf_counter() - self._start)
