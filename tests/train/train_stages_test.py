#!/usr/bin/env python3
"""parrot-train and scripts/train_tiny.sh as a user has them: the smoke run of the whole recipe, the
trained model behind parrot-server, runs interrupted and over two processes, and a forecast at full
size. Each stage's losses are those recorded in train_stages_losses.json.

usage: train_stages_test.py --bin BUILD/bin            test
       train_stages_test.py --bin BUILD/bin --record   write the losses anew, after a change of the
                                                       recipe, the world or a stage's mathematics
"""

import argparse
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/e2e/cli"))
from golden_cli_test import Server  # noqa: E402

OPTIONS = argparse.Namespace()
RECORDED = pathlib.Path(__file__).with_name("train_stages_losses.json")
WINDOW = 6  # steps at each end of a stage whose losses are averaged
# Other processors round otherwise, and training amplifies it.
TOLERANCE = 0.05

FULL_SIZE = {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
             "num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": 151936,
             "tie_word_embeddings": False, "mm_hidden_size": 1024, "moe_hidden_size": 4096,
             "moe_intermediate_size": 4096, "bos_token_id": 151643, "eos_token_id": 151645}


def run(name, *arguments, **keywords):
    """Runs a program of the build; its output when it succeeds."""
    done = subprocess.run([OPTIONS.bin / name, *map(str, arguments)], text=True, check=False,
                          capture_output=True, **keywords)
    if done.returncode != 0:
        raise AssertionError(f"{name} {arguments[0]}: {done.returncode}\n{done.stderr}")
    return done.stdout


def train_tiny(output):
    return subprocess.run([ROOT / "scripts/train_tiny.sh", output, "--smoke", "--threads", "2",
                           "--bin", OPTIONS.bin], text=True, check=False, capture_output=True)


def arguments(world, stage, model, output, steps, *more):
    return [stage, "--model", model, "--output", output, "--data", world / "open/train/dialogs.json",
            "--image-dir", world / "world/train/images", "--max-steps", steps, "--micro-batch", 8,
            "--threads", 2, *more]


def log(output):
    return [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]


def losses(output):
    return [line["loss"] for line in log(output)]


def both_ends(output):
    values = losses(output)
    return {"first": sum(values[:WINDOW]) / WINDOW, "last": sum(values[-WINDOW:]) / WINDOW}


def smoke_run(output):
    """The smoke run, and the stages that its recipe does not need: `text` and `align`."""
    done = train_tiny(output)
    if done.returncode != 0:
        raise AssertionError(f"train_tiny.sh: {done.returncode}\n{done.stderr}")
    run("parrot-train", "text", "--model", output / "fresh", "--output", output / "text", "--data",
        output / "open/train/text.json", "--max-steps", 30, "--micro-batch", 16, "--threads", 2,
        "--learning-rate", 1.5e-3)
    run("parrot-train", *arguments(output, "align", output / "dense/model", output / "align", 20,
                                   "--learning-rate", 1e-2))
    return done.stderr


def stages_of(output):
    return sorted(path.parent.name for path in output.glob("*/log.jsonl"))


class TrainStagesTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.dir = pathlib.Path(tempfile.mkdtemp(prefix="parrot_train_"))
        cls.tiny = cls.dir / "tiny"
        cls.said = smoke_run(cls.tiny)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.dir)

    def arguments(self, stage, model, output, steps, *more):
        return arguments(self.tiny, stage, model, output, steps, *more)

    def test_losses_fall_as_recorded(self):
        recorded = json.loads(RECORDED.read_text())
        self.assertEqual(stages_of(self.tiny), sorted(recorded))
        for stage, expected in recorded.items():
            with self.subTest(stage=stage):
                seen = both_ends(self.tiny / stage)
                self.assertLess(seen["last"], seen["first"])
                for end, loss in expected.items():
                    self.assertAlmostEqual(seen[end] / loss, 1, delta=TOLERANCE)

    def test_every_stage_leaves_a_sound_model(self):
        for stage in stages_of(self.tiny):
            with self.subTest(stage=stage):
                model = self.tiny / stage / "model"
                self.assertTrue((self.tiny / stage / "loss.svg").exists())
                config = json.loads((model / "config.json").read_text())
                self.assertEqual(config["use_moe"], stage != "align")
                self.assertIn("ok", json.loads(run("parrot-inspect", "check", model, "--json")))
        weights = [log(self.tiny / "choice")[-1][f"expert_{i}"] for i in range(6)]
        self.assertAlmostEqual(sum(weights), 1.0, places=5)

    def test_the_recipe_is_forecast_and_made_once(self):
        self.assertIn("together", self.said)
        before = (self.tiny / "choice/model/model.safetensors").stat().st_mtime_ns
        again = train_tiny(self.tiny)
        self.assertEqual(again.returncode, 0)
        self.assertNotIn("stage", again.stderr)
        self.assertEqual((self.tiny / "choice/model/model.safetensors").stat().st_mtime_ns, before)
        recipe = self.tiny / "dense.recipe"
        recipe.write_text(recipe.read_text().replace("dense", "another"))
        refused = train_tiny(self.tiny)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("dense is of another recipe", refused.stderr)

    def test_the_trained_model_answers_about_a_picture(self):
        server = Server(OPTIONS.bin, self.tiny / "model", "--device=cpu", "--dtype=bfloat16")
        try:
            answer = json.loads(run(
                "parrot-cli", "generate", "--target", server.target, "--json", "--max-tokens", 8,
                "--image", self.tiny / "world/heldout/images/000000.png",
                "--prompt", "What color is the background?"))
        finally:
            self.assertEqual(server.stop(), 0)
        self.assertGreater(len(answer["token_ids"]), 0)
        self.assertAlmostEqual(sum(answer["routing"][0]), 1.0, places=4)

    def test_an_interrupted_run_goes_on_where_it_was(self):
        options = ("finetune", self.tiny / "fresh")
        straight, output = self.dir / "straight", self.dir / "interrupted"
        run("parrot-train", *self.arguments(*options, straight, 20))
        first = subprocess.Popen([OPTIONS.bin / "parrot-train",
                                  *map(str, self.arguments(*options, output, 20))],
                                 stderr=subprocess.DEVNULL)
        while not (output / "log.jsonl").exists() or len(losses(output)) < 2:
            self.assertIsNone(first.poll())
            time.sleep(0.01)
        first.send_signal(signal.SIGTERM)
        self.assertEqual(first.wait(60), 3)
        self.assertLess(len(losses(output)), 20)
        self.assertFalse((output / "model").exists())
        run("parrot-train", *self.arguments(*options, output, 20, "--resume"))
        self.assertEqual(losses(output), losses(straight))
        self.assertEqual((output / "model/model.safetensors").read_bytes(),
                         (straight / "model/model.safetensors").read_bytes())
        # Finished: nothing is left to do.
        run("parrot-train", *self.arguments(*options, output, 20, "--resume"))

    def test_two_processes_are_one_that_accumulates(self):
        options = ("finetune", self.tiny / "fresh")
        single, output = self.dir / "single", self.dir / "double"
        run("parrot-train", *self.arguments(*options, single, 3, "--accumulation", 2))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        ranks = [subprocess.Popen(
            [OPTIONS.bin / "parrot-train", *map(str, self.arguments(*options, output, 3))],
            env={**os.environ, "RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
                 "MASTER_PORT": str(port)}, stderr=subprocess.DEVNULL) for rank in range(2)]
        self.assertEqual([rank.wait(120) for rank in ranks], [0, 0])
        self.assertEqual(losses(output), losses(single))
        self.assertEqual((output / "model/model.safetensors").read_bytes(),
                         (single / "model/model.safetensors").read_bytes())

    def test_a_full_size_run_is_forecast(self):
        full = self.dir / "full"
        full.mkdir()
        config = json.loads((ROOT / "train/tiny/config.json").read_text())
        (full / "config.json").write_text(json.dumps({**config, **FULL_SIZE}))
        report = run("parrot-train", "finetune", "--model", full, "--dry-run", "--dtype",
                     "bfloat16", "--checkpoint-activations", "--micro-batch", 4, "--accumulation",
                     4, "--threads", 1)
        for text in ("stage finetune", "stage align", "8.044e+09", "does not fit", "; about"):
            self.assertIn(text, report)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True, type=pathlib.Path)
    parser.add_argument("--record", action="store_true")
    OPTIONS, rest = parser.parse_known_args()
    OPTIONS.bin = OPTIONS.bin.resolve()
    if OPTIONS.record:
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            smoke_run(folder)
            found = {stage: both_ends(folder / stage) for stage in stages_of(folder)}
        RECORDED.write_text(json.dumps(found, indent=2) + "\n")
        sys.exit(0)
    unittest.main(argv=["train_stages_test.py", "-v"] + rest)
