#!/usr/bin/env python3
"""Measures a model of the picture world through the server: accuracy by category and language.

usage: evaluate_tiny.py --model models/parrot-tiny [--bin build/release/bin] [--world WORLD]
                        [--write docs/parrot-tiny.md] [--json] [--require N]

Serves the model as it would be served to users (bf16 weights, greedy), asks the held-out questions of
the picture world with `parrot-cli eval`: open, multiple-choice, in held-out sentences, and with the
wrong picture. A category is supported when, in each of the six languages, it reaches 90 % open, 85 %
in held-out sentences and multiple choice, languages differ by at most 5 points (open), and the wrong
picture gets at most 10 points more than always giving the most frequent answer would; in open
questions only, when it meets all but the bounds of held-out sentences and multiple choice.
WORLD is made when it is not there. --write puts the tables between the file's markers; --require
fails when fewer categories are supported.
"""

import argparse
import collections
import csv
import json
import pathlib
import re
import signal
import subprocess
import sys
import tempfile

LANGUAGES = ("en", "cn", "pt", "ar", "tr", "ru")
FORMS = {"open": "Mini-MMMB-open", "choice": "Mini-MMMB", "paraphrase": "Mini-MMMB-paraphrase",
         "wrong": "Mini-MMMB-wrong"}
# The world that parrot-tiny lives in (scripts/train_tiny.sh); 60 questions a category and language.
WORLD = ("--train=0", "--heldout=1500", "--questions=1020", "--shapes=4", "--colors=6")
OPEN, OTHER, SPREAD, ABOVE_MAJORITY = 0.90, 0.85, 0.05, 0.10
MARKERS = ("<!-- measured: begin -->", "<!-- measured: end -->")


class Server:
    """parrot-server on free ports, until the end of the block."""

    def __init__(self, options):
        self.options = options

    def __enter__(self):
        self.log = tempfile.NamedTemporaryFile(mode="w+", suffix=".log")
        self.process = subprocess.Popen(
            [self.options.bin / "parrot-server", "--model", self.options.model, "--grpc-port=0",
             "--http-port=0", "--admin-address=", "--lame-duck=0s", "--dtype=bfloat16",
             "--max-num-seqs=32", "--kv-cache-memory-bytes=128MiB"], stderr=self.log)
        while True:
            text = pathlib.Path(self.log.name).read_text(encoding="utf-8")
            found = re.search(r"grpc=(\S+)", text)
            if found:
                return found.group(1)
            if self.process.poll() is not None:
                sys.exit("the server did not start:\n" + text)
            try:
                self.process.wait(timeout=0.1)
            except subprocess.TimeoutExpired:
                pass

    def __exit__(self, *unused):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=60)
        self.log.close()


def rows_of(path):
    csv.field_size_limit(sys.maxsize)
    with open(path, encoding="utf-8", newline="") as file:
        return {row["index"]: row for row in csv.DictReader(file, delimiter="\t")}


def evaluate(options, target, folder):
    """{(form, language): {category: [hits]}} and mean expert weights by language."""
    files = [options.world / "eval" / f"{name}_{language}.tsv"
             for name in FORMS.values() for language in LANGUAGES]
    subprocess.run([options.bin / "parrot-cli", "eval", *files, "--target", target, "--output", folder,
                    "--max-tokens=32", "--concurrency=32", "--format=json"],
                   check=True, stdout=subprocess.DEVNULL)
    categories = {path.stem: {index: row["category"] for index, row in rows_of(path).items()}
                  for path in files}
    hits = {name: collections.defaultdict(list) for name in categories}
    weights = collections.defaultdict(list)
    with open(folder / "samples.jsonl", encoding="utf-8") as lines:
        next(lines)  # the settings
        for sample in map(json.loads, lines):
            name = sample["dataset"]
            hits[name][categories[name][str(sample["id"])]].append(sample["hit"])
            if name.startswith(FORMS["open"]):
                weights[name.rsplit("_", 1)[1]].append(sample["expert_weights"])
    named = {(form, language): hits[f"{name}_{language}"]
             for form, name in FORMS.items() for language in LANGUAGES}
    return named, {language: [sum(column) / len(column) for column in zip(*weights[language])]
                   for language in LANGUAGES}


def mean(values):
    return sum(values) / len(values)


def measure(options):
    with tempfile.TemporaryDirectory() as folder, Server(options) as target:
        hits, weights = evaluate(options, target, pathlib.Path(folder))
    answers = {language: rows_of(options.world / "eval" / f"{FORMS['open']}_{language}.tsv")
               for language in LANGUAGES}
    result = {"questions": {form: sum(map(len, hits[form, "en"].values())) for form in FORMS},
              "expert_weights": weights, "categories": {}}
    for category in sorted(hits["open", "en"]):
        accuracy = {form: {language: mean(hits[form, language][category]) for language in LANGUAGES}
                    for form in FORMS}
        majority = {}
        for language in LANGUAGES:
            given = [row["answer"] for row in answers[language].values()
                     if row["category"] == category]
            majority[language] = collections.Counter(given).most_common(1)[0][1] / len(given)
        spread = max(accuracy["open"].values()) - min(accuracy["open"].values())
        supported_open = (min(accuracy["open"].values()) >= OPEN and spread <= SPREAD
                          and all(accuracy["wrong"][x] <= majority[x] + ABOVE_MAJORITY
                                  for x in LANGUAGES))
        supported = (supported_open and min(accuracy["choice"].values()) >= OTHER
                     and min(accuracy["paraphrase"].values()) >= OTHER)
        result["categories"][category] = {
            "questions": len(hits["open", "en"][category]), "accuracy": accuracy,
            "majority": majority, "spread": spread, "supported_open": supported_open,
            "supported": supported}
    return result


def percent(value):
    return f"{100 * value:.0f}"


def tables(result):
    """The tables of the model card."""
    lines = []
    for title, key in (("Supported in open questions", "supported_open"),
                       ("Supported in every form", "supported")):
        names = [name for name, c in result["categories"].items() if c[key]]
        lines.append(f"{title} ({len(names)}): " + (", ".join(names) or "none") + ".")
        lines.append("")
    columns = (("open", "open"), ("held-out sentences", "paraphrase"),
               ("multiple choice", "choice"), ("wrong picture", "wrong"))
    lines += ["| category | n | " + " | ".join(title for title, _ in columns)
              + " | majority answer | spread (points) | supported |",
              "| --- | --- |" + " --- |" * (len(columns) + 3)]
    for name, c in result["categories"].items():
        cells = [f"{percent(mean(values))} ({percent(min(values))})"
                 for values in (c["accuracy"][form].values() for _, form in columns)]
        lines.append(f"| {name} | {c['questions']} | " + " | ".join(cells)
                     + f" | {percent(mean(c['majority'].values()))} | {percent(c['spread'])} | "
                     + ("yes |" if c["supported"] else "open |" if c["supported_open"] else "no |"))
    lines += ["", "Percent, mean over the six languages (in brackets the worst of them); n questions"
              " in each language and form.", "",
              "| open questions | " + " | ".join(LANGUAGES) + " |", "| --- |" + " --- |" * 6]
    for name, c in result["categories"].items():
        lines.append(f"| {name} | " + " | ".join(percent(c["accuracy"]["open"][x])
                                                 for x in LANGUAGES) + " |")
    lines += ["", "| mean expert weight | " + " | ".join(LANGUAGES) + " |",
              "| --- |" + " --- |" * 6]
    for expert in range(len(result["expert_weights"]["en"])):
        lines.append(f"| expert {expert} | " + " | ".join(
            f"{result['expert_weights'][x][expert]:.2f}" for x in LANGUAGES) + " |")
    return "\n".join(lines)


def write_between_markers(path, text):
    before, rest = path.read_text(encoding="utf-8").split(MARKERS[0])
    after = rest.split(MARKERS[1])[1]
    path.write_text(f"{before}{MARKERS[0]}\n{text}\n{MARKERS[1]}{after}", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--model", required=True, type=pathlib.Path)
    parser.add_argument("--bin", type=pathlib.Path, default=pathlib.Path("build/release/bin"))
    parser.add_argument("--world", type=pathlib.Path, default=pathlib.Path("build/tiny-world"))
    parser.add_argument("--write", type=pathlib.Path)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--require", type=int, default=0)
    options = parser.parse_args()
    if not (options.world / "eval").is_dir():
        subprocess.run([options.bin / "parrot-world", "--output", options.world, *WORLD], check=True)
    result = measure(options)
    text = tables(result)
    print(json.dumps(result, indent=1) if options.json else text)
    if options.write:
        write_between_markers(options.write, text)
    supported = sum(c["supported"] for c in result["categories"].values())
    return 0 if supported >= options.require else 1


if __name__ == "__main__":
    sys.exit(main())
