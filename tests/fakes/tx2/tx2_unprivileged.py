"""``unprivileged PROGRAM ARGUMENT...``: runs a program that files' permissions hold for, though it is root's.

A process of root's passes over permissions by two capabilities, which are taken from it here for good; a user's process
has none to lose.
"""

from __future__ import annotations

import ctypes
import os
import sys

_PR_CAPBSET_DROP = 24
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2


def main() -> None:
    for capability in (_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH):
        ctypes.CDLL(None).prctl(_PR_CAPBSET_DROP, capability)
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606 (the program that the test names)
