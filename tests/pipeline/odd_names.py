"""Names that a file system can hold and a shell, a table, a terminal or Nextflow may take for something else."""

from __future__ import annotations

import random

MARKER = "PWNED"  # what a name that is run as a command leaves behind
COMMAND = f"${{X=$(touch {MARKER})}}${{X@P}}"
HARD = [
    COMMAND, f"`touch {MARKER}`", f"$(touch {MARKER})", f"a;touch {MARKER};", f"b\ntouch {MARKER}\n",
    f"'$(touch {MARKER})'", f'"$(touch {MARKER})"',
    f"x' || touch {MARKER} #", "[ab]", "a", "{a,b}", "*", "q?", "~", "-x", "--help", ".hidden",
    "ldctpipe-linked", "tab\there", "carriage\rreturn", "Last, First", 'quo"te', "it's", "back\\slash", "M\xfcller",
    "日本", "RTL \u202e\u05e9\u05dc\u05d5\u05dd", " both ends ", "dots.", "100%", "a:b", "a=b", "\x1b[31m", "l" * 200,
]  # fmt: skip
_PIECES = [
    *" !\"#$%&'()*+,-.:;<=>?@[\\]^_`{|}~", *"\n\r\t\x1b\x7f", "\u200f", "\u0301", "\xe9", "\xdf", "日", "ab", "0", "  ",
    COMMAND, f"`touch {MARKER}`", f"$(touch {MARKER})", "{a,b}", "[ab]", "${HOME}", "\\n", "%s", "&amp;", "C:",
]  # fmt: skip


def drawn_names(count: int, seed: int) -> list[str]:
    """Return the hard names and others drawn from their parts, `count` in all, each once."""
    draw = random.Random(seed)
    names = dict.fromkeys(HARD)
    while len(names) < count:
        name = "".join(draw.choices(_PIECES, k=draw.choice((1, 2, 3, 5, 8))))
        if len(name.encode()) <= 255 and name not in (".", ".."):
            names[name] = None
    return list(names)[:count]
