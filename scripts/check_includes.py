#!/usr/bin/env python3
"""Checks the include rules that include roots cannot: system libraries belong to their layers.

usage: check_includes.py [ROOT]      (default: the checkout this file is in)

Own headers are kept in their layers by the build (cmake/ParrotLayer.cmake). A system header is
visible everywhere, so this table says who may include it. Prints each violation; exit 1 on any.
"""

import pathlib
import re
import sys

# Library: (pattern of the included path, folders that may include it).
RULES = {
    "libtorch": (r"^(ATen|c10|torch|caffe2)/",
                 ("model/nn", "model/backend", "model/runtime", "train", "bench",
                  "tests/model/nn", "tests/model/backend", "tests/model/runtime", "tests/train")),
    "gRPC and protobuf": (r"^(grpc|grpcpp|google/protobuf|google/rpc|parrot/v1)/|\.pb\.h$",
                          ("server/grpc", "client", "bench/server_overhead", "tests/server/grpc",
                           "tests/client", "tests/e2e")),
    "OpenCV": (r"^opencv2/", ("model/image", "train", "tests/model/image")),
    "image codecs": (r"^(jpeglib|jerror|png|webp/.*)\.h$|^webp/",
                     ("model/image", "train", "inspect", "client/bench", "eval/images", "tests/model/image",
                      "tests/model/golden_prompts", "tests/inspect")),
    "HTTP (Boost)": (r"^boost/", ("server/http", "tests/server/http")),
    "JSON (nlohmann)": (r"^nlohmann/",
                        ("model/api", "model/text", "model/weights", "server/http", "client",
                         "inspect", "eval", "train", "bench", "tests")),
    "prometheus-cpp": (r"^prometheus/", ("server/frontend", "tests/server")),
    "spdlog": (r"^(spdlog|fmt)/", ("server", "tests/server")),
    "command lines (CLI11)": (r"^CLI/", ("server/options", "client", "inspect", "bench", "train")),
    "YAML": (r"^yaml-cpp/", ("server/options",)),
    "std::regex (crashes on long input)": (r"^regex$", ("scripts",)),
}
FOLDERS = ("base", "bench", "client", "eval", "inspect", "model", "scheduler", "server", "tests", "train")
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]')


def violations(root):
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix not in (".h", ".cc", ".cu", ".cuh"):
                continue
            relative = path.relative_to(root).as_posix()
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                match = INCLUDE.match(line)
                if match is None:
                    continue
                header = match.group(1)
                if ".." in header.split("/"):
                    yield f"{relative}:{number}: '{header}': include relative to the root"
                for library, (pattern, allowed) in RULES.items():
                    if re.search(pattern, header) and not relative.startswith(
                            tuple(f"{a}/" for a in allowed)):
                        yield f"{relative}:{number}: '{header}': {library} is not for this layer"


def main():
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parents[1]
    found = list(violations(root))
    print("\n".join(found) or "include rules: clean")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
