#!/usr/bin/env python3
"""parrot-train as a user has it: every stage from nothing on a small picture world, interrupted and
resumed, over two processes, and a forecast at full size. Losses must fall; the same run gives the
same losses.

usage: train_stages_test.py --bin BUILD/bin
"""

import argparse
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest

OPTIONS = argparse.Namespace()

CONFIG = {
    "architectures": ["ParrotQwen2ForCausalLM"], "model_type": "parrot_qwen2", "hidden_act": "silu",
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "max_position_embeddings": 2048, "rms_norm_eps": 1e-6,
    "rope_theta": 1e6, "tie_word_embeddings": True, "vocab_size": 640, "torch_dtype": "bfloat16",
    "use_sliding_window": False, "image_aspect_ratio": "pad", "mm_hidden_size": 64,
    "mm_patch_merge_type": "flat", "mm_projector_type": "mlp2x_gelu",
    "mm_vision_select_feature": "cls_patch", "mm_vision_select_layer": -2,
    "mm_vision_tower": "clip-vit-small", "use_mm_proj": True, "tokenizer_model_max_length": 2048,
    "tokenizer_padding_side": "right", "num_experts": 6, "moe_hidden_size": 64,
    "moe_intermediate_size": 64, "moe_top_k": 6, "moe_weight": 0.1, "use_moe": True,
    "use_moe_residual": True}
VISION = {"model_type": "clip_vision_model", "hidden_size": 64, "intermediate_size": 128,
          "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 84, "patch_size": 14,
          "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}
PROCESSOR = {"crop_size": 84, "size": 84, "do_resize": True, "do_center_crop": True,
             "do_normalize": True, "resample": 3,
             "image_mean": [0.48145466, 0.4578275, 0.40821073],
             "image_std": [0.26862954, 0.26130258, 0.27577711]}
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


def log(output):
    return [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]


def losses(output):
    return [line["loss"] for line in log(output)]


class TrainStagesTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.dir = pathlib.Path(tempfile.mkdtemp(prefix="parrot_train_"))
        run("parrot-world", "--output", cls.dir / "world", "--train", 48, "--heldout", 0)
        run("parrot-world", "tokenizer", "--corpus", cls.dir / "world/corpus.txt", "--vocab-size",
            640, "--output", cls.dir / "tokenizer")
        (cls.dir / "config").mkdir()
        for name, content in (("config", CONFIG), ("vision_config", VISION),
                              ("preprocessor_config", PROCESSOR)):
            (cls.dir / "config" / f"{name}.json").write_text(json.dumps(content))
        run("parrot-train", "init", "--config", cls.dir / "config", "--tokenizer",
            cls.dir / "tokenizer", "--output", cls.dir / "fresh")

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.dir)

    def arguments(self, stage, model, output, steps, *more):
        world = self.dir / "world/train"
        data = {"tower": ["--scenes", world / "scenes.jsonl"],
                "text": ["--data", world / "text.json"],
                "dense": ["--data", world / "dialogs.json", "--scenes", world / "scenes.jsonl",
                          "--lexicon", self.dir / "world/lexicon.json"]}
        images = [] if stage == "text" else ["--image-dir", world / "images"]
        return [stage, "--model", model, "--output", output, *data.get(
            stage, ["--data", world / "dialogs.json"]), *images, "--max-steps", steps,
                "--micro-batch", 8, "--threads", 2, *more]

    def train(self, stage, model, steps, *more):
        output = self.dir / stage
        run("parrot-train", *self.arguments(stage, model, output, steps, *more))
        epoch = 12  # steps: both means are over every sample once
        first, last = losses(output)[:epoch], losses(output)[-epoch:]
        return output / "model", sum(first) / epoch, sum(last) / epoch

    def test_every_stage_learns_and_leaves_a_sound_model(self):
        model = self.dir / "fresh"
        for stage, rate, share in (("tower", 1e-3, 0.9), ("text", 2e-3, 0.9), ("dense", 1e-3, 0.8),
                                   ("router", 1, 0.9), ("align", 1e-2, 1.0),
                                   ("finetune", 2e-3, 0.95)):
            with self.subTest(stage=stage):
                model, first, last = self.train(stage, model, 36, "--learning-rate", rate)
                self.assertLess(last, share * first)
                self.assertTrue((self.dir / stage / "loss.svg").exists())
                config = json.loads((model / "config.json").read_text())
                self.assertEqual(config["use_moe"], stage != "align")
                checked = json.loads(run("parrot-inspect", "check", model, "--json"))
                self.assertEqual(checked.get("ok", True), True)
        weights = [line[f"expert_{i}"] for line in log(self.dir / "finetune")[-1:]
                   for i in range(6)]
        self.assertAlmostEqual(sum(weights), 1.0, places=5)

    def test_an_interrupted_run_goes_on_where_it_was(self):
        options = ("finetune", self.dir / "fresh")
        straight, output = self.dir / "straight", self.dir / "interrupted"
        run("parrot-train", *self.arguments(*options, straight, 30))
        first = subprocess.Popen([OPTIONS.bin / "parrot-train",
                                  *map(str, self.arguments(*options, output, 30))],
                                 stderr=subprocess.DEVNULL)
        while not (output / "log.jsonl").exists() or len(losses(output)) < 2:
            self.assertIsNone(first.poll())
            time.sleep(0.01)
        first.send_signal(signal.SIGTERM)
        self.assertEqual(first.wait(60), 3)
        self.assertLess(len(losses(output)), 30)
        self.assertFalse((output / "model").exists())
        run("parrot-train", *self.arguments(*options, output, 30, "--resume"))
        self.assertEqual(losses(output), losses(straight))
        self.assertEqual((output / "model/model.safetensors").read_bytes(),
                         (straight / "model/model.safetensors").read_bytes())
        # Finished: nothing is left to do.
        run("parrot-train", *self.arguments(*options, output, 30, "--resume"))

    def test_two_processes_are_one_that_accumulates(self):
        options = ("finetune", self.dir / "fresh")
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
        (full / "config.json").write_text(json.dumps({**CONFIG, **FULL_SIZE}))
        report = run("parrot-train", "finetune", "--model", full, "--dry-run", "--dtype",
                     "bfloat16", "--checkpoint-activations", "--micro-batch", 4, "--accumulation",
                     4, "--threads", 1)
        for text in ("stage finetune", "stage align", "8.044e+09", "does not fit", "; about"):
            self.assertIn(text, report)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True, type=pathlib.Path)
    OPTIONS, rest = parser.parse_known_args()
    unittest.main(argv=["train_stages_test.py", "-v"] + rest)
