#!/usr/bin/env python3
"""Measures parrot-bench, llama.cpp and torch eager on this machine in turn, round after round, and
prints how many times faster ours is, as Markdown. Run build_llama.sh and make_gguf.py first, and
build parrot-bench and torch_eager_bench (preset release).

Each round runs every program once per model and format, one after the other, so that a machine
that changes speed changes it for all; medians of the rounds count. A program starts when others
take less than 3 % of a core and runs again when they took more meanwhile. llama.cpp runs with
flash attention and with both kinds of KV cache (f16 and bf16); the better one counts, figure by
figure. Ctrl-C prints what there is. Three rounds of everything take about an hour.

usage: run.py [--isa avx2] [--models 0.5b,1.8b] [--rounds 3] [--json FILE] [--markdown FILE]
"""

import argparse
import datetime
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import time

import machine
import make_gguf
import report

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONTEXT = 641
DECODE_STEPS = 16
BATCHES = (1, 4, 16)
LLAMA_CONTEXT = 768 * max(BATCHES)  # a multiple of 256 for each sequence
# What each program calls the formats of --weights.
OUR_FLAGS = {"fp32": ["--dtype=float32"], "bf16": ["--dtype=bfloat16"],
             "int8": ["--dtype=bfloat16", "--quantization=int8"],
             "int4": ["--dtype=bfloat16", "--quantization=int4-g32"]}
LLAMA_WEIGHTS = {"bf16": ("bf16", "f16"), "int8": ("q8_0",), "int4": ("q4_0",)}
TORCH_WEIGHTS = {"fp32": "float32", "bf16": "bfloat16"}
# Keeps libraries that choose their own kernels to the same instruction set.
AVX2_ENVIRONMENT = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2",
                    "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
START = time.monotonic()


def say(text):
    print(f"[{time.monotonic() - START:5.0f} s] {text}", file=sys.stderr, flush=True)


class Job:
    """One program on one model in one setting; parse(stdout) gives {figure: [values]}."""

    def __init__(self, program, model, weights, setting, command, parse):
        self.program, self.model, self.weights, self.setting = program, model, weights, setting
        self.command, self.parse = [str(part) for part in command], parse

    def __str__(self):
        return " ".join(part for part in (self.program, self.model, self.weights, self.setting)
                        if part)


def json_lines(stdout):
    return [json.loads(line) for line in stdout.splitlines() if line.startswith("{")]


def parse_llama_bench(stdout):
    """One figure per prompt length; the short one only warms up."""
    return {f"prefill_{test['n_prompt']}": test["samples_ts"]
            for test in json_lines(stdout) if f"prefill_{test['n_prompt']}" in report.TITLES}


def parse_batched_bench(stdout):
    return {f"decode_{test['pl']}": [test["speed_tg"]] for test in json_lines(stdout)}


def parse_vision_driver(stdout):
    """The better of flash attention and plain attention, pass by pass."""
    passes = json.loads(stdout)
    return {"vision_ms": min(passes.values(), key=statistics.median)}


def parse_torch(stdout):
    return {figure: values for figure, values in json.loads(stdout).items()
            if figure in report.TITLES}


def parse_ours(stdout):
    """The JSON that follows the text: medians of parrot-bench's own repeats."""
    rows = json.loads(stdout[stdout.index("\n{"):])["tables"][0]["rows"]
    return {row["figure"]: [row["median"]] for row in rows if row["figure"] in report.TITLES}


def our_job(args, model, weights):
    isa = ["--cpu-isa=avx2"] if args.isa == "avx2" else []
    return Job("parrot", model, weights, "",
               [args.ours, "engine", "--model", model, "--num-threads", args.threads, "--repeats",
                1, *OUR_FLAGS[weights], *isa, *args.our_flags, "--json", "/dev/stdout"],
               parse_ours)


def llama_jobs(args, model, weights):
    programs = args.folder / args.isa / "bin"
    file = args.folder / "models" / f"{model}-{weights}.gguf"
    for kv in args.kv:
        cache = ["-ctk", kv, "-ctv", kv, "-t", args.threads]
        yield Job("llama.cpp", model, weights, f"{kv} KV",
                  [programs / "llama-bench", "-m", file, "-p", f"64,512,{CONTEXT}", "-n", 0, "-r",
                   1, "--no-warmup", "-fa", "on", "-o", "jsonl", *cache], parse_llama_bench)
        yield Job("llama.cpp", model, weights, f"{kv} KV",
                  [programs / "llama-batched-bench", "-m", file, "-c", LLAMA_CONTEXT, "-npp",
                   CONTEXT, "-ntg", DECODE_STEPS, "-npl", ",".join(map(str, BATCHES)), "-pps",
                   "-fa", "on", "--output-format", "jsonl", *cache], parse_batched_bench)


def torch_job(args, model, dtype):
    return Job("torch", model, dtype, "eager", [args.torch, model, dtype, args.threads, 1],
               parse_torch)


def plan(args):
    """The jobs of one round: what is compared runs next to each other."""
    jobs = []
    for model in args.models:
        for weights in args.weights:
            if "parrot" in args.programs and model != "vision":
                jobs.append(our_job(args, model, weights))
            if "llama" in args.programs and model != "vision":
                for name in LLAMA_WEIGHTS.get(weights, ()):
                    jobs += llama_jobs(args, model, name)
            if "torch" in args.programs and weights in TORCH_WEIGHTS:
                jobs.append(torch_job(args, model, TORCH_WEIGHTS[weights]))
        if "llama" in args.programs and model == "vision":
            for name in make_gguf.VISION_FORMATS:
                jobs.append(Job("llama.cpp", model, name, "",
                                [args.folder / args.isa / "bin/vision-driver",
                                 args.folder / "models" / f"vision-{name}.gguf", args.threads, 2],
                                parse_vision_driver))
    return jobs


def measure(args, jobs, results):
    environment = {"OMP_NUM_THREADS": str(args.threads),
                   **(AVX2_ENVIRONMENT if args.isa == "avx2" else {})}
    broken = set()
    for round_number in range(1, args.rounds + 1):
        for index, job in enumerate(jobs):
            if index in broken:
                continue
            say(f"round {round_number}/{args.rounds}, {index + 1}/{len(jobs)}: {job}")
            try:
                outcome = machine.run_undisturbed(job.command, environment, args.patience,
                                                  args.repeats, say)
                figures = job.parse(outcome.stdout)
            except (machine.CommandFailed, OSError, ValueError, KeyError) as error:
                say(f"{job}: left out: {error}")
                broken.add(index)
                continue
            say(", ".join(f"{name} {report.number(statistics.median(values))}"
                          for name, values in figures.items()))
            results.add(job, figures, outcome.others >= machine.OTHERS_LIMIT)


def output_of(*command):
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return "?"
    return " ".join((run.stdout + run.stderr).split()) or "?"


def facts(args):
    return {
        **machine.describe(),
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "command": " ".join(["bench/peers/run.py", *sys.argv[1:]]),
        "threads": str(args.threads),
        "instruction set of this comparison": args.isa,
        "parrot": output_of("git", "-C", ROOT, "describe", "--always", "--dirty"),
        "llama.cpp": output_of(args.folder / args.isa / "bin/llama-bench", "--version"),
        "torch": output_of(args.torch, "--version"),
    }


def parse_arguments():
    def listed(choices):
        def split(text):
            names = text.split(",")
            unknown = set(names) - set(choices)
            if unknown:
                raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not in {list(choices)}")
            return names
        return split

    models, weights = (*make_gguf.MODELS, "vision"), ("fp32", "bf16", "int8", "int4")
    kinds, programs = ("f16", "bf16"), ("parrot", "llama", "torch")
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--isa", choices=("native", "avx2"), default="native",
                        help="avx2: nobody uses more than AVX2 and FMA")
    parser.add_argument("--models", type=listed(models), default=models)
    parser.add_argument("--weights", type=listed(weights), default=weights)
    parser.add_argument("--programs", type=listed(programs), default=programs)
    parser.add_argument("--kv", type=listed(kinds), default=kinds, help="llama.cpp's KV caches")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--patience", type=float, default=300,
                        help="seconds to wait for an idle machine (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=2,
                        help="runs in place of a disturbed one (default: %(default)s)")
    parser.add_argument("--folder", type=pathlib.Path, default=make_gguf.default_folder(),
                        help="build_llama.sh's (default: %(default)s)")
    built = ROOT / "build/release/bin"
    parser.add_argument("--ours", type=pathlib.Path, default=built / "parrot-bench")
    parser.add_argument("--our-flags", type=str.split, default=[],
                        help="more flags of parrot-bench engine, in one word")
    parser.add_argument("--torch", type=pathlib.Path, default=built / "torch_eager_bench")
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--markdown", type=pathlib.Path, help="also to this file")
    return parser.parse_args()


def main():
    args = parse_arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C
    results = report.Results()
    jobs = plan(args)
    known = facts(args)
    status = 0
    try:
        measure(args, jobs, results)
    except KeyboardInterrupt:
        say("interrupted: what there is so far")
        status = 130
    text = report.markdown(known, results)
    print(text, end="")
    if args.markdown:
        args.markdown.write_text(text, encoding="utf-8")
    if args.json:
        args.json.write_text(json.dumps({"facts": known, "ratios": report.comparison(results),
                                         "measured": results.rows()}, indent=1) + "\n",
                             encoding="utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main())
