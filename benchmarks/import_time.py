"""Measure what ``import sklearn_ncti`` adds to the time of ``import sklearn``.

The package needs scikit-learn in any case, so a fresh process imports first the one and then
the other, and the clock is read before, between and after. So both are measured under the same
conditions, in CPU time, in which waiting for other work on the machine does not count. The
package promises to take no more than scikit-learn's own import plus a tenth.
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
import sklearn_ncti
end = process_time()
print(between - start, end - resumed, *sorted(set(sys.modules) - before))
"""
OPTIONAL = ("torch", "timm", "matplotlib", "pandas", "PIL", "rich", "tqdm")


def import_once():
    """CPU seconds of scikit-learn, those that the package adds, and the modules it adds."""
    command = [sys.executable, "-c", CODE]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    base, added, *modules = done.stdout.split()
    return float(base), float(added), modules


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=15, help="processes (default: 15)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here")
    args = parser.parse_args()
    # Once without looking: byte code is written, and files are in the system's cache.
    *_, modules = import_once()
    runs = [import_once()[:2] for _ in range(args.repeat)]
    result = {
        "sklearn_s": median(base for base, _ in runs),
        "added_s": median(added for _, added in runs),
        "ratio": median(1.0 + added / base for base, added in runs),
        "optional": [module for module in modules if module in OPTIONAL],
    }
    print(f"import sklearn                {result['sklearn_s']:.3f} s")
    print(f"import sklearn_ncti adds      {result['added_s']:.3f} s")
    print(f"ratio of the two together     {result['ratio']:.3f}")
    print(f"optional packages it imports  {', '.join(result['optional']) or 'none'}")
    if args.json is not None:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
