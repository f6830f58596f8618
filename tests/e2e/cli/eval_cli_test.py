#!/usr/bin/env python3
"""parrot-cli eval against parrot-server with a real (tiny, random) checkpoint.

A dozen questions in two languages: every one gets an answer, whatever the number in flight; the
routing weights are those of the prompt; choices gives the options' letters; nothing is asked twice.

usage: eval_cli_test.py --bin DIR --golden DIR
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

from golden_cli_test import Server

FAILURES = []


def check(condition, what):
    if not condition:
        FAILURES.append(what)
        print("FAILED " + what, flush=True)


def evaluate(options, target, folder, more=()):
    """Exit code, summary and standard error of one run."""
    run = subprocess.run(
        [options.bin / "parrot-cli", "eval", folder / "MMMB_en.tsv", folder / "MMMB_ru.tsv",
         "--target", target, "--max-tokens=8", "--json", *more],
        capture_output=True, text=True, check=False)
    check(run.stdout.startswith("{"), "no summary: " + run.stderr)
    return run.returncode, json.loads(run.stdout), run.stderr


def samples(folder):
    lines = (folder / "samples.jsonl").read_text(encoding="utf-8").split("\n")
    return {(s["dataset"], s["id"]): s for s in map(json.loads, filter(None, lines[1:]))}


def only(text, rows):
    """The table with these rows alone."""
    lines = text.split("\n")
    return "\n".join([lines[0]] + [l for l in lines[1:] if l.split("\t")[0].strip('"') in rows])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True, type=pathlib.Path)
    parser.add_argument("--golden", required=True, type=pathlib.Path)
    options = parser.parse_args()
    rows = {"1", "2", "3", "4", "5", "7"}
    server = Server(options.bin, options.golden / "checkpoints" / "nano-gqa", "--dtype=float32")
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            for data_set in ("MMMB_en", "MMMB_ru"):
                text = (options.golden / "eval" / "tsv" / f"{data_set}.tsv").read_text("utf-8")
                (folder / f"{data_set}.tsv").write_text(only(text, rows), "utf-8")
            run_all(options, server.target, folder, len(rows))
    finally:
        check(server.stop() == 0, "the server did not stop cleanly:\n" + server.text())
    return 1 if FAILURES else 0


def run_all(options, target, folder, num_rows):
    code, summary, error = evaluate(options, target, folder, ["-o", folder / "many"])
    check(code == 0, f"exit code {code}: {error}")
    check([d["answered"] for d in summary["datasets"]] == [num_rows] * 2, f"answers: {summary}")
    check(summary["configuration"]["model"] == "nano-gqa", "the model's name")
    many = samples(folder / "many")
    for key, sample in many.items():
        check(abs(sum(sample["expert_weights"]) - 1) < 1e-4, f"weights of {key}")
        check(sample["completion_tokens"] <= 8, f"tokens of {key}")
    check((folder / "many" / "experts.svg").read_text().startswith("<svg"), "a chart of the experts")

    code, _, error = evaluate(options, target, folder, ["-o", folder / "one", "--concurrency=1"])
    one = samples(folder / "one")
    for key, sample in many.items():
        check(sample["raw"] == one[key]["raw"], f"another answer to {key} alone")

    again = (folder / "many" / "samples.jsonl").stat().st_size
    code, _, error = evaluate(options, target, folder, ["-o", folder / "many", "--rules=vk26"])
    check("0 questions left" in error, "asked again: " + error)
    check((folder / "many" / "samples.jsonl").stat().st_size > again / 2, "samples were lost")

    code, _, error = evaluate(options, target, folder,
                              ["-o", folder / "choices", "--scoring=choices", "--jpeg=reference"])
    check(code == 0, f"choices: exit code {code}: {error}")
    for key, sample in samples(folder / "choices").items():
        check(sample["inferred"] == sample["raw"] and sample["raw"] in sample["option_probability"],
              f"choice of {key}: {sample}")
        check(abs(sum(sample["option_probability"].values()) - 1) < 1e-3, f"probabilities of {key}")


if __name__ == "__main__":
    sys.exit(main())
