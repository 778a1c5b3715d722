"""Measure what the names of ``sklearn_ncti`` add to the time of ``import sklearn``.

The scorers need scikit-learn in any case, so a fresh process imports first the one and then
the others, and the clock is read before, between and after. So both are measured under the same
conditions, in CPU time, in which waiting for other work on the machine does not count. The help
of the command line needs no scikit-learn: another process imports what it needs.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import median

CODE = """\
import sys
from time import process_time
start = process_time()
import sklearn
between = process_time()
before = set(sys.modules)
resumed = process_time()
from sklearn_ncti import NCTIScorer, Ranking, RankingDisplay, SELIGeometry, ncti_scoring
end = process_time()
print(between - start, end - resumed, *sorted(set(sys.modules) - before))
"""
HELP = """\
from time import process_time
start = process_time()
from sklearn_ncti._cli.parser import make_parser
make_parser().format_help()
print(process_time() - start)
"""
OPTIONAL = ("torch", "timm", "matplotlib", "pandas", "PIL", "rich", "tqdm")


def run(code):
    """What a fresh process prints, in words."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.split()


def import_once():
    """CPU seconds of scikit-learn, those that the package adds, and the modules it adds."""
    base, added, *modules = run(CODE)
    return float(base), float(added), modules


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=15, help="processes (default: 15)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here")
    args = parser.parse_args()
    # Once without looking: byte code is written, and files are in the system's cache.
    *_, modules = import_once()
    # In turns, so that what the machine does in the meantime falls on all of them.
    runs = [(*import_once()[:2], float(*run(HELP))) for _ in range(args.repeat)]
    result = {
        "sklearn_s": median(base for base, _, _ in runs),
        "added_s": median(added for _, added, _ in runs),
        "ratio": median(1.0 + added / base for base, added, _ in runs),
        "help_ratio": median(of_help / base for base, _, of_help in runs),
        "optional": [module for module in modules if module in OPTIONAL],
    }
    print(f"import sklearn                {result['sklearn_s']:.3f} s")
    print(f"import sklearn_ncti adds      {result['added_s']:.3f} s")
    print(f"ratio of the two together     {result['ratio']:.3f}")
    print(f"help of the command line      {result['help_ratio']:.3f} of import sklearn")
    print(f"optional packages it imports  {', '.join(result['optional']) or 'none'}")
    if args.json is not None:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
