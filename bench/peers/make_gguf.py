#!/usr/bin/env python3
"""Writes what llama.cpp is measured with: GGUF files of random weights, in the shapes that
parrot-bench runs. Speed does not depend on the values, so one block of random numbers is written
over and over from random offsets; the tokenizer is left out, its 151936 rows are not.

For each model: bf16 (written here), f16, q8_0 and q4_0 (by llama-quantize). The vision tower, CLIP
ViT-L/14-336 in f32, f16 and bf16: llama.cpp runs 23 of its 24 layers, as Parrot does; the projector
that its loader insists on has 32 columns and costs nothing. Does again only what is missing.

usage: make_gguf.py [--folder FOLDER] [--model 0.5b|1.8b|vision ...]
"""

import argparse
import array
import os
import pathlib
import random
import struct
import subprocess
import sys

VOCAB_ROWS = 151936
# Qwen1.5: hidden, intermediate, layers, heads, tied.
MODELS = {
    "0.5b": (1024, 2816, 24, 16, True),
    "1.8b": (2048, 5504, 24, 16, False),
}
QUANTIZED = ("f16", "q8_0", "q4_0")
# CLIP ViT-L/14-336: hidden, intermediate, layers, heads, image side, patch side.
VISION = (1024, 4096, 24, 16, 336, 14)
VISION_FORMATS = ("f32", "f16", "bf16")
PROJECTOR_COLUMNS = 32

ALIGNMENT = 32
TYPE_CODES = {"f32": 0, "f16": 1, "bf16": 30}  # of ggml
ELEMENT_BYTES = {"f32": 4, "f16": 2, "bf16": 2}
BLOCK_ELEMENTS = 1 << 20


def default_folder():
    cache = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(cache) / "parrot-peers"


def encode(values, element):
    if element == "f16":
        return struct.pack(f"<{len(values)}e", *values)
    floats = struct.pack(f"<{len(values)}f", *values)
    if element == "f32":
        return floats
    halves = array.array("H", floats)  # the upper half of a float is its bf16
    return halves[1::2].tobytes()


class RandomBytes:
    """Weights of about N(0, 0.02), encoded once per element type."""

    def __init__(self):
        generator = random.Random(1)
        self._values = [generator.gauss(0.0, 0.02) for _ in range(BLOCK_ELEMENTS)]
        self._blocks = {}
        self._offsets = random.Random(2)

    def write(self, out, element, count):
        if element not in self._blocks:
            self._blocks[element] = encode(self._values, element)
        block, size = self._blocks[element], ELEMENT_BYTES[element]
        while count > 0:
            start = self._offsets.randrange(BLOCK_ELEMENTS)
            take = min(count, BLOCK_ELEMENTS - start)
            out.write(block[start * size:(start + take) * size])
            count -= take


def string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def metadata(key, value):
    """One entry; Python's type chooses GGUF's (a list holds floats)."""
    if isinstance(value, bool):
        return string(key) + struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return string(key) + struct.pack("<II", 4, value)
    if isinstance(value, float):
        return string(key) + struct.pack("<If", 6, value)
    if isinstance(value, str):
        return string(key) + struct.pack("<I", 8) + string(value)
    return string(key) + struct.pack(f"<IIQ{len(value)}f", 9, 6, len(value), *value)


def padding(size):
    return -size % ALIGNMENT


def elements(shape):
    count = 1
    for side in shape:
        count *= side
    return count


def write_gguf(path, entries, tensors, weights):
    """tensors: (name, shape with the innermost side first, element type)."""
    infos, offset = [], 0
    for name, shape, element in tensors:
        infos.append(string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape,
                                                TYPE_CODES[element], offset))
        size = elements(shape) * ELEMENT_BYTES[element]
        offset += size + padding(size)
    partial = path.with_suffix(".partial")
    with open(partial, "wb") as out:
        out.write(struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(entries)))
        for key, value in entries.items():
            out.write(metadata(key, value))
        for info in infos:
            out.write(info)
        out.write(bytes(padding(out.tell())))
        for _, shape, element in tensors:
            weights.write(out, element, elements(shape))
            out.write(bytes(padding(elements(shape) * ELEMENT_BYTES[element])))
    partial.rename(path)


def language_model(hidden, intermediate, layers, heads, tied):
    entries = {
        "general.architecture": "qwen2",
        "general.name": "random",
        "qwen2.block_count": layers,
        "qwen2.context_length": 32768,
        "qwen2.embedding_length": hidden,
        "qwen2.feed_forward_length": intermediate,
        "qwen2.attention.head_count": heads,
        "qwen2.attention.head_count_kv": heads,
        "qwen2.attention.layer_norm_rms_epsilon": 1e-6,
        "qwen2.rope.freq_base": 1e6,
        "qwen2.vocab_size": VOCAB_ROWS,
        "tokenizer.ggml.model": "none",
    }
    tensors = [("token_embd.weight", (hidden, VOCAB_ROWS), "bf16"),
               ("output_norm.weight", (hidden,), "f32")]
    if not tied:
        tensors.append(("output.weight", (hidden, VOCAB_ROWS), "bf16"))
    for layer in range(layers):
        prefix = f"blk.{layer}."
        for name in ("attn_norm.weight", "ffn_norm.weight", "attn_q.bias", "attn_k.bias",
                     "attn_v.bias"):
            tensors.append((prefix + name, (hidden,), "f32"))
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            tensors.append((prefix + name + ".weight", (hidden, hidden), "bf16"))
        for name in ("ffn_gate", "ffn_up"):
            tensors.append((prefix + name + ".weight", (hidden, intermediate), "bf16"))
        tensors.append((prefix + "ffn_down.weight", (intermediate, hidden), "bf16"))
    return entries, tensors


def vision_tower(element):
    hidden, intermediate, layers, heads, image, patch = VISION
    entries = {
        "general.architecture": "clip",
        "general.name": "random",
        "clip.has_vision_encoder": True,
        "clip.projector_type": "mlp",
        "clip.use_gelu": False,
        "clip.vision.image_size": image,
        "clip.vision.patch_size": patch,
        "clip.vision.embedding_length": hidden,
        "clip.vision.feed_forward_length": intermediate,
        "clip.vision.block_count": layers,
        "clip.vision.projection_dim": hidden,
        "clip.vision.attention.head_count": heads,
        "clip.vision.attention.layer_norm_epsilon": 1e-5,
        "clip.vision.image_mean": [0.48145466, 0.4578275, 0.40821073],
        "clip.vision.image_std": [0.26862954, 0.26130258, 0.27577711],
    }
    # llama.cpp's convolution takes no bf16.
    patches = "f16" if element == "bf16" else element
    tensors = [("v.class_embd", (hidden,), "f32"),
               ("v.patch_embd.weight", (patch, patch, 3, hidden), patches),
               ("v.position_embd.weight", (hidden, (image // patch)**2 + 1), "f32"),
               ("v.pre_ln.weight", (hidden,), "f32"), ("v.pre_ln.bias", (hidden,), "f32"),
               ("mm.0.weight", (hidden, PROJECTOR_COLUMNS), element),
               ("mm.0.bias", (PROJECTOR_COLUMNS,), "f32"),
               ("mm.2.weight", (PROJECTOR_COLUMNS, PROJECTOR_COLUMNS), element),
               ("mm.2.bias", (PROJECTOR_COLUMNS,), "f32")]
    for layer in range(layers):
        prefix = f"v.blk.{layer}."
        for name in ("ln1", "ln2"):
            tensors += [(f"{prefix}{name}.{part}", (hidden,), "f32") for part in ("weight", "bias")]
        for name, shape in (("attn_q", (hidden, hidden)), ("attn_k", (hidden, hidden)),
                            ("attn_v", (hidden, hidden)), ("attn_out", (hidden, hidden)),
                            ("ffn_up", (hidden, intermediate)),
                            ("ffn_down", (intermediate, hidden))):
            tensors += [(f"{prefix}{name}.weight", shape, element),
                        (f"{prefix}{name}.bias", shape[1:], "f32")]
    return entries, tensors


def quantize(tool, source, target, format_name):
    partial = target.with_suffix(".partial")
    run = subprocess.run([tool, source, partial, format_name.upper()], capture_output=True,
                         text=True, check=False)
    if run.returncode:
        sys.exit(f"make_gguf.py: llama-quantize failed:\n{run.stderr[-2000:]}")
    partial.rename(target)


def make(name, folder, weights):
    """Writes the missing files of one model."""
    if name == "vision":
        jobs = {folder / f"vision-{element}.gguf": vision_tower(element)
                for element in VISION_FORMATS}
    else:
        jobs = {folder / f"{name}-bf16.gguf": language_model(*MODELS[name])}
    for path, content in jobs.items():
        if not path.exists():
            print(f"make_gguf.py: writing {path.name}", file=sys.stderr)
            write_gguf(path, *content, weights)
    for format_name in () if name == "vision" else QUANTIZED:
        target = folder / f"{name}-{format_name}.gguf"
        if not target.exists():
            print(f"make_gguf.py: writing {target.name}", file=sys.stderr)
            quantize(folder.parent / "native/bin/llama-quantize", folder / f"{name}-bf16.gguf",
                     target, format_name)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=pathlib.Path, default=default_folder(),
                        help="build_llama.sh's folder (default: %(default)s)")
    names = [*MODELS, "vision"]
    parser.add_argument("--model", action="append", choices=names, dest="models")
    args = parser.parse_args()
    folder = args.folder / "models"
    folder.mkdir(parents=True, exist_ok=True)
    weights = RandomBytes()
    for name in args.models or names:
        make(name, folder, weights)


if __name__ == "__main__":
    main()
