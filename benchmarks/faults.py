"""Faults planted in networks: does `netdefs.compare` name the first wrong layer, and the cause? Prints a table.

python benchmarks/faults.py [--count 400] [--seed 0] [--networks resnet18 yolov8n ...]
python benchmarks/faults.py --write    # also puts the table into docs/compare.md
"""

import argparse
import datetime
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import track

import netdefs

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.common import machine
from netdefs.core.files import atomic_write
from tests.faults.networks import MADE_UP, ZOO, subject
from tests.faults.scoring import Score, plants, score

PAGE = Path(__file__).parent.parent / "docs" / "compare.md"
BEGIN, END = "<!-- benchmarks/faults.py writes from here -->", "<!-- to here -->"
PRECISIONS = ("fp32", "fp16", "bf16")


def main() -> None:
    """Plants, compares and prints; exits with 1 if a correct network is said to be wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=400, help="how many faults")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--networks", nargs="+", default=[*ZOO, *MADE_UP], choices=[*ZOO, *MADE_UP])
    parser.add_argument("--write", action="store_true", help=f"put the table into {PAGE.name}")
    options = parser.parse_args()
    console, started = Console(), time.perf_counter()
    alarms = false_alarms(options.networks)
    scores = []
    for found in track(plants(options.networks, options.count, options.seed), "Planting", total=options.count):
        scores.append(score(found))
        if not (scores[-1].first_right and scores[-1].cause_right):
            console.print(f"{scores[-1].planted}: first {scores[-1].first}, {scores[-1].cause}: {scores[-1].text}")
    text = table(scores, alarms, options.networks, options.seed)
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    console.print(f"{time.perf_counter() - started:.0f} s on {machine()}")
    if options.write:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        _, _, behind = rest.partition(END)
        with atomic_write(PAGE) as file:
            file.write(f"{before}{BEGIN}\n\n{text}\n\n{END}{behind}".encode())
    sys.exit(bool(alarms))


def false_alarms(names: Sequence[str]) -> list[str]:
    """The correct networks that are said to be wrong, with their precision."""
    found = []
    for name in names:
        for precision in PRECISIONS:
            where = subject(name)
            if not netdefs.compare(where.define(precision), where.module, where.x).ok:
                found.append(f"{name} in {precision}")
    return found


def table(scores: Sequence[Score], alarms: Sequence[str], names: Sequence[str], seed: int) -> str:
    """The scores in Markdown: in all, and by cause."""
    first, right = (sum(getattr(s, name) for s in scores) for name in ("first_right", "cause_right"))
    count, kinds = len(scores), len({s.fault for s in scores})
    lines = [
        f"{datetime.date.today()}, seed {seed}: {count} faults of {kinds} kinds in {len(names)} networks "
        f"({', '.join(names)}).",
        "",
        f"- The first wrong layer is exactly right in {first} of {count} ({first / count:.1%}).",
        f"- The cause is exactly right in {right} of {count} ({right / count:.1%}).",
        f"- False alarms on the correct networks, each in {', '.join(PRECISIONS)}: "
        f"{', '.join(alarms) or f'none of {len(names) * len(PRECISIONS)}'}.",
        "",
        "| cause | faults | first layer right | cause right | taken for |",
        "|---|---|---|---|---|",
    ]
    for cause in sorted({s.wanted for s in scores}):
        those = [s for s in scores if s.wanted == cause]
        wrong = Counter(s.cause for s in those if not s.cause_right)
        others = ", ".join(f"{name} ({n})" if n > 1 else name for name, n in wrong.most_common())
        faults = ", ".join(sorted({s.fault.replace("_", " ") for s in those}))
        sums = (len(those), sum(s.first_right for s in those), sum(s.cause_right for s in those))
        lines.append(f"| `{cause}`: {faults} | {' | '.join(map(str, sums))} | {others} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
