#!/usr/bin/env python3
"""The arrows of ARCHITECTURE.md, checked by compiling.

For each layer, each header of each layer it may not include is put into a source and compiled with
that layer's own include paths: the compilation must fail with "No such file". Its own headers must
compile. The rules for system libraries are checked by giving scripts/check_includes.py a tree with
one violation each.

usage: layers_test.py --layers BUILD/layers --compiler CXX
"""

import argparse
import concurrent.futures
import importlib.util
import os
import pathlib
import subprocess
import tempfile
import unittest

# layer: the layers it may include, directly or through their headers.
API = {"base", "model_api"}
FRONTEND = API | {"model_text", "model_image", "scheduler"}
PROTOCOL = FRONTEND | {"frontend", "server_logging"}
TORCH = API | {"model_weights", "model_backend"}
MAY_INCLUDE = {
    "base": set(),
    "svg": set(),
    "model_api": {"base"},
    "model_text": API,
    "model_image": API,
    "model_weights": API,
    "model_kernels": set(),
    "model_backend": API,
    "model_backend_reference": API | {"model_backend"},
    "model_backend_cpu": API | {"model_backend", "model_kernels"},
    "model_nn": API | {"model_backend"},
    "model_runtime": TORCH | {"model_nn", "model_kernels", "model_backend_cpu",
                              "model_backend_reference"},
    "bench": TORCH | {"model_nn", "model_backend_reference", "model_runtime"},
    "measure": set(),
    "limits": {"measure", "model_kernels"},
    "model_sizes": API,
    "bench_kernels": API | {"measure", "limits", "model_kernels", "model_sizes"},
    "bench_engine": TORCH | {"model_nn", "model_backend_reference", "model_runtime", "model_kernels",
                             "measure", "model_sizes"},
    "scheduler": API,
    "eval": API | {"model_text", "svg"},
    "eval_images": API | {"model_image"},
    "decode_steps": API | {"scheduler"},
    "frontend": FRONTEND,
    "server_options": {"base"},
    "server_logging": {"base"},
    "server_http": {"base"},
    "server_grpc": PROTOCOL,
    "server": PROTOCOL | {"server_options", "server_http", "server_grpc"},
    "server_loading": PROTOCOL | TORCH | {"server_options", "server", "server_grpc", "server_http",
                                          "model_runtime"},
    "server_overhead": PROTOCOL | {"model_weights", "server", "server_options", "server_http",
                                   "server_grpc"},
    "client": {"base", "client_messages"},
    "client_messages": {"base"},
    "client_bench": {"base", "client", "client_messages", "svg"},
    "client_eval": {"base", "client", "client_messages", "eval"},
    "client_cli": {"base", "client", "client_bench", "client_eval", "client_messages", "eval",
                   "eval_images", "model_image", "model_api"},
    "train_world": API | {"model_text", "model_image"},
    "train_data": API | {"model_text", "model_image"},
    "train": TORCH | {"model_nn", "model_backend_reference", "model_runtime", "model_kernels",
                      "model_text", "model_image", "train_data", "svg"},
    "inspect": TORCH | {"model_kernels", "model_text", "model_image", "model_runtime", "client_messages"},
}
ROOT = pathlib.Path(__file__).resolve().parents[2]
OPTIONS = argparse.Namespace()


def include_paths():
    paths = {}
    for line in (OPTIONS.layers / "include_paths.txt").read_text().splitlines():
        layer, joined = line.split("\t")
        paths[layer] = [p for p in joined.split(":") if p]
    return paths


def headers_of(layer):
    root = OPTIONS.layers / layer
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*.h"))


def product_layers():
    """Layers of the product; fakes and readers of golden data belong to the tests, and what has no
    header is a test's main."""
    return {name: paths for name, paths in include_paths().items()
            if headers_of(name) and not any(h.startswith("tests/") for h in headers_of(name))}


def compile_include(header, paths):
    """Returns the compiler's complaints; empty when it compiles."""
    command = [OPTIONS.compiler, "-std=c++20", "-fsyntax-only", "-w", "-x", "c++", "-"]
    for path in paths:
        command += ["-isystem" if "torch" in path else "-I", path]
    run = subprocess.run(command, input=f'#include "{header}"\n', capture_output=True, text=True,
                         check=False)
    return run.stderr if run.returncode else ""


class LayersTest(unittest.TestCase):

    def test_every_layer_has_its_arrows_written_down(self):
        layers = product_layers()
        self.assertGreater(len(layers), 5)
        self.assertEqual(sorted(set(layers) - set(MAY_INCLUDE)), [],
                         "add the layer to MAY_INCLUDE and to ARCHITECTURE.md")

    def test_a_forbidden_include_does_not_compile(self):
        layers = product_layers()
        jobs = []
        for layer, paths in layers.items():
            forbidden = set(layers) - MAY_INCLUDE.get(layer, set()) - {layer}
            for other in sorted(forbidden):
                jobs += [(layer, header, paths) for header in headers_of(other)[:1]]
        self.assertGreater(len(jobs), 20)
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            results = list(pool.map(lambda job: compile_include(job[1], job[2]), jobs))
        for (layer, header, _), complaint in zip(jobs, results):
            with self.subTest(layer=layer, header=header):
                self.assertIn("No such file or directory", complaint,
                              f"{layer} can include {header}")

    def test_own_headers_compile_with_the_same_paths(self):
        # Without this, broken include paths would pass the test above. Two headers suffice.
        for layer in ("base", "scheduler"):
            for header in headers_of(layer)[:2]:
                with self.subTest(layer=layer, header=header):
                    self.assertEqual(compile_include(header, include_paths()[layer]), "")

    def test_libtorch_is_on_the_path_of_its_layers_alone(self):
        for layer, paths in product_layers().items():
            sees_torch = any((pathlib.Path(p) / "ATen" / "ATen.h").exists() for p in paths)
            may = layer in ("model_backend", "model_backend_cpu", "model_backend_reference",
                            "model_nn", "model_runtime", "bench", "train")
            with self.subTest(layer=layer):
                self.assertTrue(may or not sees_torch, f"{layer} sees libtorch's headers")


class SystemIncludesTest(unittest.TestCase):

    def setUp(self):
        spec = importlib.util.spec_from_file_location("check_includes",
                                                      ROOT / "scripts" / "check_includes.py")
        self.check_includes = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.check_includes)

    def test_the_tree_is_clean(self):
        self.assertEqual(list(self.check_includes.violations(ROOT)), [])

    def test_each_rule_finds_its_violation(self):
        samples = ["ATen/ATen.h", "grpcpp/grpcpp.h", "google/protobuf/message.h",
                   "parrot/v1/generation.pb.h", "opencv2/core.hpp", "jpeglib.h", "png.h",
                   "webp/decode.h", "boost/asio.hpp", "nlohmann/json.hpp",
                   "prometheus/registry.h", "spdlog/spdlog.h", "CLI/CLI.hpp", "yaml-cpp/yaml.h",
                   "regex", "base/../model/api/step.h"]
        for header in samples:
            with tempfile.TemporaryDirectory() as folder, self.subTest(header=header):
                source = pathlib.Path(folder) / "scheduler" / "bad.cc"
                source.parent.mkdir()
                source.write_text(f"#include <{header}>\n")
                self.assertEqual(len(list(self.check_includes.violations(pathlib.Path(folder)))), 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--layers", required=True, type=pathlib.Path)
    parser.add_argument("--compiler", required=True)
    OPTIONS, rest = parser.parse_known_args()
    unittest.main(argv=["layers_test.py", "-v"] + rest)
