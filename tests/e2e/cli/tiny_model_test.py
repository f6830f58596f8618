#!/usr/bin/env python3
"""The committed parrot-tiny, served as users serve it, knows held-out pictures in six languages.

Open questions of the categories that the model card calls supported, six of each in each language.

usage: tiny_model_test.py --bin DIR --model DIR --scripts DIR --categories NAME ...
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile


def main():
    parser = argparse.ArgumentParser()
    for name in ("--bin", "--model", "--scripts"):
        parser.add_argument(name, required=True, type=pathlib.Path)
    parser.add_argument("--floor", type=float, default=0.9)
    parser.add_argument("--categories", nargs="+", required=True, help="those that count")
    options = parser.parse_args()
    sys.path.insert(0, str(options.scripts))
    import evaluate_tiny  # pylint: disable=import-outside-toplevel

    with tempfile.TemporaryDirectory() as folder:
        options.world = pathlib.Path(folder) / "world"
        subprocess.run([options.bin / "parrot-world", "--output", options.world, "--train=0",
                        "--heldout=400", "--questions=102", "--shapes=4", "--colors=6"], check=True)
        with evaluate_tiny.Server(options) as target:
            hits, _ = evaluate_tiny.evaluate(options, target, pathlib.Path(folder) / "results")
    groups = [(language, [(language, category) for category in options.categories])
              for language in evaluate_tiny.LANGUAGES]
    groups += [(category, [(language, category) for language in evaluate_tiny.LANGUAGES])
               for category in options.categories]
    failures = 0
    for name, cells in groups:
        counted = [hit for language, category in cells for hit in hits["open", language][category]]
        accuracy = evaluate_tiny.mean(counted)
        print(f"{name}: {accuracy:.2f} of {len(counted)} (at least {options.floor})")
        failures += accuracy < options.floor
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
