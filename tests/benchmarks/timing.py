"""Wall-clock and processor time of one call, of two alternating calls, and of each epoch of `fit`."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import keras


def seconds(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Returns the wall-clock seconds of one call; with `time.process_time` those of all processors."""
    start = clock()
    work()
    return clock() - start


def taking_turns(
    ours: Callable[[], object],
    theirs: Callable[[], object],
    repeats: int,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[float, float]:
    """Returns the median seconds of each; the calls alternate, so that changes in the machine's load affect both."""
    pairs = [(seconds(ours, clock), seconds(theirs, clock)) for _ in range(repeats)]
    return statistics.median(pair[0] for pair in pairs), statistics.median(pair[1] for pair in pairs)


class EpochTimes(keras.callbacks.Callback):
    """Records `seconds` and `processor` seconds of each epoch, including validation. The first also traces the graph.

    Processor seconds are those of all threads of this process; a busy machine changes them less.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []
        self.processor: list[float] = []
        self._start = (0.0, 0.0)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._start = time.perf_counter(), time.process_time()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        wall, processor = self._start
        self.seconds.append(time.perf_counter() - wall)
        self.processor.append(time.process_time() - processor)
