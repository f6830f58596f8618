#!/usr/bin/env python3
"""The committed parrot-tiny, served as users serve it, knows held-out pictures in six languages.

Forty questions of each language and form, made from the world's seed; lowest accuracies by form.

usage: tiny_model_test.py --bin DIR --model DIR --scripts DIR [--categories NAME ...]
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
    parser.add_argument("--floor", type=float, nargs=3, default=[0.85, 0.8, 0.8],
                        help="open, held-out sentences, multiple choice")
    parser.add_argument("--categories", nargs="+", help="those that count; default: all")
    options = parser.parse_args()
    sys.path.insert(0, str(options.scripts))
    import evaluate_tiny  # pylint: disable=import-outside-toplevel

    with tempfile.TemporaryDirectory() as folder:
        options.world = pathlib.Path(folder) / "world"
        subprocess.run([options.bin / "parrot-world", "--output", options.world, "--train=0",
                        "--heldout=60", "--questions=40", "--shapes=4", "--colors=6"], check=True)
        with evaluate_tiny.Server(options) as target:
            hits, _ = evaluate_tiny.evaluate(options, target, pathlib.Path(folder) / "results")
    failures = 0
    for form, floor in zip(("open", "paraphrase", "choice"), options.floor):
        for language in evaluate_tiny.LANGUAGES:
            counted = [hit for category, values in hits[form, language].items()
                       if category in (options.categories or hits[form, language])
                       for hit in values]
            accuracy = evaluate_tiny.mean(counted)
            print(f"{form} {language}: {accuracy:.2f} of {len(counted)} (at least {floor})")
            failures += accuracy < floor
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
