"""Checks that a pickle is cheap to load, without loading it: a small file could otherwise need any amount of memory."""

from __future__ import annotations

import pickletools
from typing import Any, BinaryIO

MAX_OPCODES = 200_000  # a state dict has about 30 per tensor
MAX_TUPLE_ITEMS = 1000  # objects, nested ones included; a tensor's arguments have about 20
SAVE = ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE")
FETCH = ("GET", "BINGET", "LONG_BINGET")
SAME = ("DUP", "MEMOIZE")  # leave their operand on the stack
UNHASHABLE = (pickletools.pylist, pickletools.pydict, pickletools.pyset)  # hashing a tuple never descends into them
MARK = pickletools.markobject


def check_pickle_cost(stream: BinaryIO) -> None:
    """Checks that the pickle at the stream's position is cheap to load, and leaves the stream at its end.

    Raises:
        ValueError: the pickle is corrupt, or it has more than MAX_OPCODES opcodes, a tuple of more than MAX_TUPLE_ITEMS
            objects, or a memo index above its own size, for which memory would be allocated.
    """
    start, highest, simulator = stream.tell(), 0, _StackSimulator()
    for count, (opcode, argument, _) in enumerate(pickletools.genops(stream), 1):
        if count > MAX_OPCODES:
            raise ValueError(f"a pickle may have at most {MAX_OPCODES} opcodes")
        if opcode.name in SAVE and isinstance(argument, int):
            highest = max(highest, argument)
        simulator.step(opcode, argument)
    if highest > stream.tell() - start:
        raise ValueError(f"memo index {highest} is larger than the pickle that uses it")


class _StackSimulator:
    """Simulates the unpickler's stack and memo with weights instead of objects.

    The weight of an object is the number of objects in it, itself included.
    """

    def __init__(self) -> None:
        self.stack: list[int] = []
        self.marks: list[int] = []  # heights of the stack
        self.memo: dict[Any, int] = {}

    def step(self, opcode: pickletools.OpcodeInfo, argument: Any) -> None:
        if opcode.name in SAVE:
            self.memo[len(self.memo) if argument is None else argument] = self.stack[-1]
        parts = self._pop_operands(opcode)
        weight = self.memo[argument] if opcode.name in FETCH else sum(parts) + (opcode.name not in SAME)
        if opcode.name.startswith("TUPLE") and weight > MAX_TUPLE_ITEMS:
            raise ValueError(f"a tuple may hold at most {MAX_TUPLE_ITEMS} objects, nested ones included")
        for kind in opcode.stack_after:
            if kind is MARK:
                self.marks.append(len(self.stack))
            else:
                self.stack.append(1 if kind in UNHASHABLE else weight)

    def _pop_operands(self, opcode: pickletools.OpcodeInfo) -> list[int]:
        """Removes the operands of an opcode from the stack and returns their weights."""
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
