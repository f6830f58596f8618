#!/usr/bin/env python3
"""What bench/peers makes of what programs print: medians, the strongest setting of a peer, ratios,
the GGUF files' shape. No program runs, nothing is fetched.

usage: run_test.py
"""

import json
import pathlib
import struct
import sys
import tempfile
import types
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "bench/peers"))
import machine  # noqa: E402
import make_gguf  # noqa: E402
import report  # noqa: E402
import run  # noqa: E402


def job(program, model, weights, setting):
    return run.Job(program, model, weights, setting, [], None)


def results_of(*series):
    results = report.Results()
    for *what, figure, values in series:
        results.add(job(*what), {figure: values})
    return results


class ReportTest(unittest.TestCase):

    def test_the_median_of_all_rounds_counts(self):
        results = report.Results()
        for value in (10, 30, 11):
            results.add(job("torch", "0.5b", "float32", "eager"), {"decode_1": [value]})
        self.assertEqual(results.best("torch", "0.5b", "decode_1"), (11, "float32", "eager"))

    def test_a_peer_is_given_its_best_setting_of_equal_or_better_precision(self):
        results = results_of(("parrot", "0.5b", "bf16", "", "prefill_512", [300]),
                             ("llama.cpp", "0.5b", "bf16", "f16 KV", "prefill_512", [100]),
                             ("llama.cpp", "0.5b", "f16", "f16 KV", "prefill_512", [150]),
                             ("llama.cpp", "0.5b", "q8_0", "bf16 KV", "prefill_512", [200]),
                             ("llama.cpp", "1.8b", "f16", "f16 KV", "prefill_512", [999]))
        row, = report.comparison(results)
        precise, fastest = (row["peers"][name] for name in ("llama.cpp, as precise",
                                                            "llama.cpp, any format"))
        self.assertEqual((precise["weights"], precise["ratio"]), ("f16", 2.0))
        self.assertEqual((fastest["weights"], fastest["ratio"]), ("q8_0", 1.5))

    def test_less_time_is_a_greater_ratio(self):
        results = results_of(("parrot", "0.5b", "int8", "", "vision_ms", [500]),
                             ("llama.cpp", "vision", "f16", "", "vision_ms", [900]),
                             ("llama.cpp", "vision", "f32", "", "vision_ms", [1000]))
        row, = report.comparison(results)
        self.assertEqual(row["peers"]["llama.cpp, as precise"]["ratio"], 1.8)

    def test_a_first_token_is_the_sum_of_a_peers_best_parts(self):
        results = results_of(("parrot", "0.5b", "int8", "", "ttft_ms", [1000]),
                             ("llama.cpp", "vision", "f16", "", "vision_ms", [2000]),
                             ("llama.cpp", "0.5b", "q8_0", "f16 KV", "prefill_641", [641]),
                             ("llama.cpp", "0.5b", "q4_0", "f16 KV", "prefill_641", [1282]),
                             ("torch", "vision", "float32", "eager", "vision_ms", [3000]),
                             ("torch", "0.5b", "bfloat16", "eager", "prefill_641", [641]))
        row, = report.comparison(results)
        self.assertEqual(row["peers"]["llama.cpp, as precise"]["ratio"], 3.0)
        self.assertEqual(row["peers"]["llama.cpp, any format"]["ratio"], 2.5)
        self.assertNotIn("torch fp32", row["peers"])

    def test_torch_is_compared_type_by_type(self):
        results = results_of(("parrot", "0.5b", "int4", "", "decode_1", [90]),
                             ("torch", "0.5b", "float32", "eager", "decode_1", [9]),
                             ("torch", "0.5b", "bfloat16", "eager", "decode_1", [18]))
        row, = report.comparison(results)
        self.assertEqual(row["peers"]["torch fp32"]["ratio"], 10)
        self.assertEqual(row["peers"]["torch bf16"]["ratio"], 5)

    def test_markdown_has_a_line_per_figure_and_marks_disturbed_runs(self):
        results = results_of(("parrot", "0.5b", "bf16", "", "decode_16", [200]))
        results.add(job("llama.cpp", "0.5b", "bf16", "bf16 KV"), {"decode_16": [80]},
                    disturbed=True)
        text = report.markdown({"cpu": "a", "date": "b"}, results)
        self.assertIn("- cpu: a\n- date: b\n", text)
        self.assertIn("| 0.5b | bf16 | decode 16 together, t/s | 200 | **2.50x** of 80.0 "
                      "(bf16; bf16 KV) |", text)
        self.assertIn("| 80.0 | 80.0 | 80.0 | 1 | yes |", text)


class ParserTest(unittest.TestCase):

    def test_llama_bench_warms_up_with_a_prompt_that_does_not_count(self):
        lines = [{"n_prompt": 64, "samples_ts": [1.0]}, {"n_prompt": 512, "samples_ts": [2.0]},
                 {"n_prompt": 641, "samples_ts": [3.0]}]
        text = "\n".join(map(json.dumps, lines)) + "\n"
        self.assertEqual(run.parse_llama_bench(text), {"prefill_512": [2.0], "prefill_641": [3.0]})

    def test_batched_bench_reports_by_batch(self):
        text = 'noise\n{"pl": 1, "speed_tg": 7.5}\n{"pl": 16, "speed_tg": 40.0}\n'
        self.assertEqual(run.parse_batched_bench(text), {"decode_1": [7.5], "decode_16": [40.0]})

    def test_the_better_kind_of_vision_attention_counts(self):
        self.assertEqual(run.parse_vision_driver('{"flash": [5, 9, 6], "plain": [7, 7, 7]}'),
                         {"vision_ms": [5, 9, 6]})

    def test_our_own_json_follows_the_text(self):
        rows = [{"model": "0.5b", "figure": "decode_4", "median": 70.0},
                {"model": "0.5b", "figure": "load_s", "median": 3.0}]
        text = "a table\n" + json.dumps({"tables": [{"rows": rows}]}, indent=2) + "\n"
        with self.assertRaises(ValueError):
            run.parse_ours("a table\n")
        self.assertEqual(run.parse_ours(text), {"decode_4": [70.0]})

    def test_every_job_of_a_round_is_of_a_known_precision(self):
        args = types.SimpleNamespace(
            models=("0.5b", "vision"), weights=("fp32", "bf16", "int8", "int4"), isa="avx2",
            programs=("parrot", "llama", "torch"), kv=("f16", "bf16"), threads=2, our_flags=[],
            folder=pathlib.Path("f"), torch=pathlib.Path("t"), ours=pathlib.Path("o"))
        jobs = run.plan(args)
        self.assertLessEqual({job.weights for job in jobs}, set(report.BITS))
        self.assertIn("f/avx2/bin/llama-bench", {job.command[0] for job in jobs})


class MachineTest(unittest.TestCase):

    def test_steal_is_work_and_waiting_is_not(self):
        ticks = machine.TICKS_PER_SECOND
        stat = f"cpu  {ticks} {ticks} {ticks} {9 * ticks} {9 * ticks} 0 0 {ticks} 0 0\ncpu0 1\n"
        self.assertEqual(machine.busy_seconds(stat), 4.0)

    def test_a_childs_own_work_is_not_others(self):
        outcome = machine.run_alone([sys.executable, "-c", "print(sum(range(10**6)))"], {})
        self.assertEqual(outcome.stdout, "499999500000\n")

    def test_a_failing_program_is_told_with_its_last_words(self):
        with self.assertRaisesRegex(machine.CommandFailed, "exit status 3: no such model"):
            machine.run_alone([sys.executable, "-c",
                               "import sys; print('no such model', file=sys.stderr); sys.exit(3)"],
                              {})


class GgufTest(unittest.TestCase):

    def test_bf16_is_the_upper_half_of_a_float(self):
        self.assertEqual(make_gguf.encode([1.0, -2.0], "bf16"), bytes.fromhex("803f00c0"))

    def test_a_file_is_as_long_as_its_tensors_say(self):
        tensors = [("a", (3, 5), "bf16"), ("b", (7,), "f32")]
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "x.gguf"
            make_gguf.write_gguf(path, {"general.architecture": "qwen2"}, tensors,
                                 make_gguf.RandomBytes())
            data = path.read_bytes()
        self.assertEqual(struct.unpack("<4sIQQ", data[:24]), (b"GGUF", 3, 2, 1))
        self.assertEqual(len(data) % make_gguf.ALIGNMENT, 0)
        values_a, values_b = data[-64:-32], data[-32:]  # 30 and 28 bytes, padded
        self.assertNotEqual(values_a[28:30], bytes(2))
        self.assertEqual((values_a[30:], values_b[28:]), (bytes(2), bytes(4)))

    def test_a_model_has_the_parameters_of_its_shape(self):
        _, tensors = make_gguf.language_model(*make_gguf.MODELS["0.5b"])
        count = sum(make_gguf.elements(shape) for _, shape, _ in tensors)
        self.assertEqual(count, 463987712)  # Qwen1.5-0.5B's own


if __name__ == "__main__":
    unittest.main(argv=["run_test.py", "-v"])
