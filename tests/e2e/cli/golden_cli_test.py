#!/usr/bin/env python3
"""Golden parity through the real binaries: parrot-server answers parrot-cli --json.

Each golden prompt of one checkpoint is asked alone and then again with 32 clients at once. Token ids
must equal the reference's greedy continuation up to the first step whose top-2 margin is below 0.01,
and the ids with 32 clients must equal those asked alone. Routing weights are within 2e-4. Prompts on
which the API differs on purpose (docs/numerics.md) must behave as documented there.

usage: golden_cli_test.py --bin DIR --golden DIR --checkpoint NAME
"""

import argparse
import concurrent.futures
import json
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

MARGIN = 0.01
ROUTING_TOLERANCE = 2e-4
CLIENTS = 32
LITERAL_KINDS = ("literal_specials", "literal_endoftext")


class Server:
    """parrot-server on free ports, stopped by SIGTERM."""

    def __init__(self, bin_dir, model, *options):
        self.log = tempfile.NamedTemporaryFile(mode="w+", suffix=".log")
        self.process = subprocess.Popen(
            [bin_dir / "parrot-server", "--model", model, "--grpc-port=0", "--http-port=0",
             "--admin-address=127.0.0.1:0", "--lame-duck=0s", "--max-num-seqs=32",
             "--max-queue-size=64", *options],
            stderr=self.log, stdout=self.log)
        self.target = self._wait_for_target()

    def _wait_for_target(self):
        for _ in range(600):
            match = re.search(r"grpc=(\S+)", self.text())
            if match:
                return match.group(1)
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        raise RuntimeError("the server did not start:\n" + self.text())

    def text(self):
        with open(self.log.name, encoding="utf-8") as log:
            return log.read()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)


def messages_of(prompt, golden):
    """The prompt as an OpenAI-style list of messages."""
    messages = []
    for message in prompt["messages"]:
        parts = []
        for part in message["parts"]:
            if part["type"] == "text":
                parts.append({"type": "text", "text": part["text"]})
            else:
                parts.append({"type": "image", "image": f"file:{golden / part['image']}"})
        messages.append({"role": message["role"], "content": parts})
    return messages


def ask(options, target, prompt, max_tokens=48):
    with tempfile.NamedTemporaryFile(mode="w", suffix=".json") as file:
        json.dump(messages_of(prompt, options.golden), file)
        file.flush()
        command = [options.bin / "parrot-cli", "generate", "--target", target, "--json",
                   "--literal", "--messages", file.name, "--max-tokens", str(max_tokens),
                   "--timeout", "300s"]
        if prompt["generation_preface"]:
            command += ["--prefix", prompt["generation_preface"]]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        return run.returncode, json.loads(run.stdout)
    except json.JSONDecodeError:
        return run.returncode, {"error": {"message": run.stdout + run.stderr}}


def mismatch(answer, greedy):
    """Why the answer's tokens are not the reference's; None when they agree."""
    got = list(answer["token_ids"])
    if answer["finish_reason"] == "stop":
        got.append(answer["stop_token_id"])
    for step, expected in enumerate(greedy["tokens"]):
        if step < len(got) and got[step] == expected:
            continue
        margin = greedy["steps"][step]["margin"]
        if margin < MARGIN:
            return None
        return f"step {step}: {got[step:step + 1]} instead of {expected}, margin {margin}"
    if len(got) != len(greedy["tokens"]):
        return f"{len(got)} tokens instead of {len(greedy['tokens'])}"
    if answer["finish_reason"] != greedy["finish"]:
        return f"finish {answer['finish_reason']} instead of {greedy['finish']}"
    return None if answer["text"] == greedy["text"] else "the text differs"


def check_parity(prompt, expected, code, answer):
    if code != 0:
        return f"exit code {code}: {answer.get('error')}"
    if answer["usage"]["text_tokens"] != prompt["text_tokens"]:
        return f"{answer['usage']['text_tokens']} text tokens instead of {prompt['text_tokens']}"
    if prompt["images"]:
        difference = max(abs(a - b) for a, b in zip(answer["routing"][0], expected["router"]))
        if len(answer["routing"][0]) != len(expected["router"]) or difference > ROUTING_TOLERANCE:
            return f"routing weights differ by {difference}"
    elif answer["routing"]:
        return "routing weights without an image"
    return mismatch(answer, expected["greedy"])


def check_documented(prompt, code, answer):
    """Prompts on which the API means to differ (docs/numerics.md)."""
    if prompt["kind"] == "truncated":
        reason = answer.get("error", {}).get("reason")
        return None if code == 1 and reason == "CONTEXT_LENGTH_EXCEEDED" else f"{code} {answer}"
    if code != 0:
        return f"exit code {code}: {answer.get('error')}"
    if prompt["kind"] in LITERAL_KINDS:
        # Plain text takes more tokens than the control tokens that the reference makes of it.
        more = answer["usage"]["text_tokens"] > prompt["text_tokens"]
        return None if more else "control strings were not plain text"
    # Several images: each one is routed, by the same text.
    if len(answer["routing"]) != len(prompt["images"]):
        return f"{len(answer['routing'])} routings for {len(prompt['images'])} images"
    sums = [abs(sum(weights) - 1) for weights in answer["routing"]]
    return None if max(sums) < 1e-5 else "routing weights do not sum to 1"


class Run:

    def __init__(self, options):
        self.options = options
        self.passed = 0
        self.failures = []

    def record(self, case, why):
        if why is None:
            self.passed += 1
        else:
            self.failures.append(f"{case}: {why}")
            print(f"FAILED {case}: {why}", flush=True)

    def all_prompts(self, server, prompts, expected):
        alone = {}
        for prompt in prompts:
            code, answer = ask(self.options, server.target, prompt)
            alone[prompt["id"]] = (code, answer)
            documented = (prompt["kind"] in LITERAL_KINDS or prompt["kind"] == "truncated"
                          or len(prompt["images"]) > 1)
            why = (check_documented(prompt, code, answer) if documented
                   else check_parity(prompt, expected[prompt["id"]], code, answer))
            self.record(prompt["id"], why)

        with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
            work = [prompts[i % len(prompts)] for i in range(max(CLIENTS, len(prompts)))]
            answers = pool.map(lambda p: (p, ask(self.options, server.target, p)), work)
            for prompt, (_, answer) in answers:
                same = answer.get("token_ids") == alone[prompt["id"]][1].get("token_ids")
                self.record(f"{prompt['id']} with {CLIENTS} clients",
                            None if same else "other token ids than alone")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True, type=pathlib.Path)
    parser.add_argument("--golden", required=True, type=pathlib.Path)
    parser.add_argument("--checkpoint", required=True)
    options = parser.parse_args()

    options.golden = options.golden.resolve()
    lines = (options.golden / "prompts.jsonl").read_text(encoding="utf-8").splitlines()
    prompts = [p for p in map(json.loads, lines) if p["checkpoint"] == options.checkpoint]
    activations = json.loads(
        (options.golden / "activations" / f"{options.checkpoint}.json").read_text("utf-8"))
    expected = {entry["id"]: entry for entry in activations["prompts"]}
    prompts = [p for p in prompts if p["id"] in expected]

    run = Run(options)
    server = Server(options.bin, options.golden / "checkpoints" / options.checkpoint,
                    "--limit-mm-per-prompt=image=2", "--dtype=float32")
    try:
        wait = subprocess.run([options.bin / "parrot-cli", "health", "--target", server.target,
                               "--wait", "120s"], capture_output=True, check=False)
        run.record("healthy", None if wait.returncode == 0 else server.text())
        run.all_prompts(server, prompts, expected)
    finally:
        code = server.stop()
    run.record("clean stop", None if code == 0 else f"exit code {code}:\n{server.text()}")
    print(f"COVERED: parrot-server on cpu, float32, {options.checkpoint}")
    print(f"CASES: {run.passed} passed, {len(run.failures)} failed, 0 skipped")
    return 1 if run.failures or len(prompts) < 5 else 0


if __name__ == "__main__":
    sys.exit(main())
