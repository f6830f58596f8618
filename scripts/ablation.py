#!/usr/bin/env python3
"""The paper's ablation (its Figure 7a) in miniature: what multilingual data bring, and the experts.

usage: ablation.py WORK [--bin build/release/bin] [--steps 4000] [--seeds 1 2 3]
                   [--write docs/ablation.md]

WORK is a folder that scripts/train_tiny.sh has made: its pictures, tokenizer and vision tower are
used. From the same tower each run makes projector, experts and language model anew (other random
weights for each seed), aligns the projector, and trains on as many dialogs:
  english       nine of ten dialogs in English, no experts
  multilingual  six languages alike, no experts
  moe           six languages alike, six experts
Nothing tells router or experts a language: no warm start, alignment with the mean over languages.
Accuracies are those of `parrot-cli eval` on held-out pictures, open questions. Run it again to go on.
"""

import argparse
import collections
import json
import math
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import evaluate_tiny
from evaluate_tiny import LANGUAGES, mean

ENGLISH = "--languages=en=90,zh=2,pt=2,ar=2,tr=2,ru=2"
SETTINGS = {"english": (ENGLISH, "--no-moe"), "multilingual": (None, "--no-moe"),
            "moe": (None, None)}
WORLD = ("--train=80000", "--heldout=0", "--shapes=4", "--colors=6", "--no-images", "--dialogs=2",
         "--choice-percent=0", "--single-percent=15", "--caption-percent=0", "--max-questions=8")
MARKERS = evaluate_tiny.MARKERS


def run(*command):
    print("+ " + " ".join(map(str, command)), flush=True)
    code = subprocess.run(list(map(str, command)), check=False).returncode
    if code != 0:
        sys.exit(code)


def dialogs(options, name, languages):
    """Dialogs that name no language, as the method has them."""
    path = options.work / "ablation" / f"{name}.json"
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            run(options.bin / "parrot-world", "--output", folder, *WORLD,
                *([languages] if languages else []))
            samples = json.loads((pathlib.Path(folder) / "train/dialogs.json").read_text("utf-8"))
            for sample in samples:
                del sample["language"]
            scratch = path.with_suffix(".tmp")
            scratch.write_text(json.dumps(samples, ensure_ascii=False), "utf-8")
            os.replace(scratch, path)
    return path


def fresh(options, seed):
    """The tower's checkpoint with everything else drawn anew."""
    folder = options.work / "ablation" / f"fresh-{seed}"
    if not folder.exists():
        scratch = folder.with_suffix(".tmp")
        tower = options.work / "tower/model"
        run(options.bin / "parrot-train", "init", "--config", tower, "--tokenizer", tower,
            "--output", scratch, "--seed", seed, "--keep-tower", tower)
        os.replace(scratch, folder)
    return folder


def train(options, setting, seed):
    languages, no_moe = SETTINGS[setting]
    data = dialogs(options, "english" if languages else "multilingual", languages)
    images = ("--image-dir", options.work / "world/train/images")
    common = ("--micro-batch=8", "--accumulation=2", "--beta2=0.98", "--save-every=500",
              "--resume", "--seed", seed)
    base = options.work / "ablation" / f"aligned-{seed}"
    run(options.bin / "parrot-train", "dense", "--model", fresh(options, seed), "--output", base,
        "--data", dialogs(options, "multilingual", None), *images, *common,
        "--scenes", options.work / "world/train/scenes.jsonl",
        "--lexicon", options.work / "world/lexicon.json",
        "--learning-rate=0.002", "--hold=0.6", "--max-steps", options.align_steps)
    out = options.work / "ablation" / f"{setting}-{seed}"
    run(options.bin / "parrot-train", "finetune", "--model", base / "model", "--output", out,
        "--data", data, *images, *common, "--learning-rate=0.0007", "--hold=0.8",
        "--max-steps", options.steps, *([no_moe] if no_moe else []))
    return out / "model"


def entropy(weights):
    return -sum(w * math.log(w) for w in weights if w > 0)


def measure(options, model):
    """Accuracy by language; routing: mean entropy, mutual information with language (nats)."""
    options.model = model
    with tempfile.TemporaryDirectory() as folder, evaluate_tiny.Server(options) as target:
        files = [options.world / "eval" / f"Mini-MMMB-open_{x}.tsv" for x in LANGUAGES]
        subprocess.run([options.bin / "parrot-cli", "eval", *files, "--target", target, "--output",
                        folder, "--max-tokens=32", "--concurrency=32", "--format=json"],
                       check=True, stdout=subprocess.DEVNULL)
        with open(pathlib.Path(folder) / "samples.jsonl", encoding="utf-8") as lines:
            next(lines)  # the settings
            samples = [json.loads(line) for line in lines]
    hits, weights = collections.defaultdict(list), collections.defaultdict(list)
    for sample in samples:
        language = sample["dataset"].rsplit("_", 1)[1]
        hits[language].append(sample["hit"])
        if sample.get("expert_weights"):
            weights[language].append(sample["expert_weights"])
    result = {"accuracy": {x: mean(hits[x]) for x in LANGUAGES}}
    if weights:
        by_language = {x: [mean(column) for column in zip(*weights[x])] for x in LANGUAGES}
        overall = [mean(column) for column in zip(*by_language.values())]
        result["weights"] = by_language
        result["entropy"] = mean([entropy(w) for x in LANGUAGES for w in weights[x]])
        result["information"] = entropy(overall) - mean([entropy(w) for w in by_language.values()])
    return result


def tables(results, options):
    lines = [f"{options.steps} steps of 16 dialogs, seeds {', '.join(map(str, options.seeds))}.", "",
             "| open questions, % | " + " | ".join(LANGUAGES) + " | mean |",
             "| --- |" + " --- |" * 7]
    for setting in SETTINGS:
        runs = [results[f"{setting}-{seed}"]["accuracy"] for seed in options.seeds]
        cells = []
        for pick in [lambda r, x=x: r[x] for x in LANGUAGES] + [lambda r: mean(list(r.values()))]:
            values = [100 * pick(r) for r in runs]
            cells.append(f"{mean(values):.1f} ({min(values):.1f} to {max(values):.1f})")
        lines.append(f"| {setting} | " + " | ".join(cells) + " |")
    lines += ["", "Mean over the seeds (least to most).", "",
              "| moe, seed | entropy of the weights, nats | mutual information with language, nats |"
              + " mean weights by language |", "| --- | --- | --- | --- |"]
    for seed in options.seeds:
        r = results[f"moe-{seed}"]
        weights = "; ".join(x + " " + " ".join(f"{w:.2f}" for w in r["weights"][x])
                            for x in LANGUAGES)
        lines.append(f"| {seed} | {r['entropy']:.3f} | {r['information']:.4f} | {weights} |")
    lines += ["", f"Equal weights have an entropy of {math.log(6):.3f}; a router that names the"
              " language would share as much information with it."]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("--bin", type=pathlib.Path, default=pathlib.Path("build/release/bin"))
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--align-steps", type=int, default=700)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--write", type=pathlib.Path)
    options = parser.parse_args()
    (options.work / "ablation").mkdir(exist_ok=True)
    options.world = options.work / "world"
    results = {}
    for seed in options.seeds:
        for setting in SETTINGS:
            kept = options.work / "ablation" / f"{setting}-{seed}.json"
            if not kept.exists():
                result = measure(options, train(options, setting, seed))
                kept.write_text(json.dumps(result))
                shutil.rmtree(options.work / "ablation" / f"{setting}-{seed}")
            results[f"{setting}-{seed}"] = json.loads(kept.read_text())
    text = tables(results, options)
    print(text)
    if options.write:
        evaluate_tiny.write_between_markers(options.write, text)


if __name__ == "__main__":
    sys.exit(main())
