"""Walks through a pickle's opcodes without running any, to know what unpickling it would cost at most.

Python hashes a tuple by its parts, however often they are the same: sixty tuples, each holding the one before twice,
are a pickle of 300 bytes that, as a dictionary's key, keeps a process busy for ages.
"""

from __future__ import annotations

import pickletools
from typing import Any, BinaryIO

MAX_OPCODES = 200_000  # a state dict has about thirty a tensor
MAX_TUPLE_ITEMS = 1000  # objects in it, counted at every place; a tensor's arguments are about twenty
SAVE = ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE")
FETCH = ("GET", "BINGET", "LONG_BINGET")
SAME = ("DUP", "MEMOIZE")  # leave what they take
UNHASHABLE = (pickletools.pylist, pickletools.pydict, pickletools.pyset)  # or, frozen, hashed but once
MARK = pickletools.markobject


def check_pickle_cost(stream: BinaryIO) -> None:
    """Goes to the end of the pickle at the stream's place.

    Raises:
        ValueError: it has more than MOST_OPCODES, a tuple above HEAVIEST_TUPLE, a memo index above its own size, for
            which as much memory would be reserved, or is damaged.
    """
    start, highest, walk = stream.tell(), 0, _Walk()
    for count, (opcode, argument, _) in enumerate(pickletools.genops(stream), 1):
        if count > MAX_OPCODES:
            raise ValueError(f"a pickle may have at most {MAX_OPCODES} opcodes")
        if opcode.name in SAVE and isinstance(argument, int):
            highest = max(highest, argument)
        walk.step(opcode, argument)
    if highest > stream.tell() - start:
        raise ValueError(f"memo index {highest} is larger than the pickle that uses it")


class _Walk:
    """The unpickler's stack and memo, of each object the weight alone: the number of objects that it is made of."""

    def __init__(self) -> None:
        self.stack: list[int] = []
        self.marks: list[int] = []  # heights of the stack
        self.memo: dict[Any, int] = {}

    def step(self, opcode: pickletools.OpcodeInfo, argument: Any) -> None:
        if opcode.name in SAVE:
            self.memo[len(self.memo) if argument is None else argument] = self.stack[-1]
        parts = self._taken(opcode)
        weight = self.memo[argument] if opcode.name in FETCH else sum(parts) + (opcode.name not in SAME)
        if opcode.name.startswith("TUPLE") and weight > MAX_TUPLE_ITEMS:
            raise ValueError(f"a tuple may hold at most {MAX_TUPLE_ITEMS} objects, nested ones included")
        for kind in opcode.stack_after:
            if kind is MARK:
                self.marks.append(len(self.stack))
            else:
                self.stack.append(1 if kind in UNHASHABLE else weight)

    def _taken(self, opcode: pickletools.OpcodeInfo) -> list[int]:
        """Weights of what an opcode takes off the stack."""
        before = opcode.stack_before
        if MARK in before:
            start = self.marks.pop() - before.index(MARK)
        elif opcode.name == "POP" and self.marks and self.marks[-1] == len(self.stack):
            start = self.marks.pop()
        else:
            start = len(self.stack) - len(before)
        if start < (self.marks[-1] if self.marks else 0):
            raise ValueError(f"the opcode {opcode.name} finds too little on the stack")
        parts = self.stack[start:]
        del self.stack[start:]
        return parts
