"""What the comparison says: medians of the rounds, the strongest setting of each peer, ratios, and
the Markdown that shows them."""

import statistics

# Bits of a weight, by each program's own names. Ours on the left is compared with every format of
# a peer that has as many bits or more. (llama.cpp counts its scales, so its q8_0 has 8.5.)
BITS = {
    "fp32": 32, "bf16": 16, "int8": 8, "int4": 4,
    "f32": 32, "f16": 16, "q8_0": 8, "q4_0": 4,
    "float32": 32, "bfloat16": 16,
}
PREFILL_TOKENS = 641
UNITS = {"vision_ms": "ms", "ttft_ms": "ms"}
TITLES = {
    "vision_ms": "vision tower, ms",
    "prefill_512": "prefill 512, t/s",
    "prefill_641": "prefill 641, t/s",
    "decode_1": "decode, t/s",
    "decode_4": "decode 4 together, t/s",
    "decode_16": "decode 16 together, t/s",
    "ttft_ms": "first token of an image question, ms",
}


class Results:
    """Samples by (program, model, format, setting, figure); a setting is a peer's own choice, such
    as the type of its KV cache, of which the best counts."""

    def __init__(self):
        self._samples = {}
        self._disturbed = set()

    def add(self, job, figures, disturbed=False):
        """job has program, model, weights and setting; figures: {name: [values]}. The tower is the
        same in every model, and is never stored in less than 16 bits."""
        for figure, values in figures.items():
            model, weights = job.model, job.weights
            if figure == "vision_ms":
                model, weights = "vision", weights if BITS[weights] >= 16 else "bf16"
            key = (job.program, model, weights, job.setting, figure)
            self._samples.setdefault(key, []).extend(values)
            if disturbed:
                self._disturbed.add(key)

    def median(self, key):
        return statistics.median(self._samples[key])

    def rows(self):
        """Every series as a dictionary, for JSON and the second table."""
        names = ("program", "model", "weights", "setting", "figure")
        return [{**dict(zip(names, key)), "minimum": min(values),
                 "median": statistics.median(values), "maximum": max(values),
                 "samples": values, "disturbed": key in self._disturbed}
                for key, values in self._samples.items()]

    def best(self, program, model, figure, least_bits=0, most_bits=64):
        """(median, weights, setting) of the strongest setting in those bits, or None."""
        found = [(self.median(key), key[2], key[3]) for key in self._samples
                 if key[:2] == (program, model) and key[4] == figure
                 and least_bits <= BITS[key[2]] <= most_bits]
        if not found:
            return None
        lower_is_better = figure in UNITS
        return (min if lower_is_better else max)(found, key=lambda entry: entry[0])

    def first_token(self, program, model, least_bits=0, most_bits=64):
        """A peer has no such request; it is given the sum of its best parts: the image through its
        tower, and the prompt of one image and 64 tokens of text through its language model."""
        vision = self.best(program, "vision", "vision_ms", least_bits, most_bits)
        prefill = self.best(program, model, f"prefill_{PREFILL_TOKENS}", least_bits, most_bits)
        if not vision or not prefill:
            return None
        return (vision[0] + 1000 * PREFILL_TOKENS / prefill[0], prefill[1],
                f"{prefill[2]}; {vision[1]} tower")


def speedup(figure, ours, peer):
    """How many times faster ours is."""
    return peer / ours if figure in UNITS else ours / peer


def number(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def comparison(results):
    """One row per figure of ours: what is compared, and the ratio to each peer."""
    rows = []
    ours = [row for row in results.rows() if row["program"] == "parrot"]
    for row in ours:
        model, weights, figure = row["model"], row["weights"], row["figure"]
        bits = BITS[weights]

        def peer(program, least_bits, most_bits=64):
            if figure == "ttft_ms":
                return results.first_token(program, model, least_bits, most_bits)
            return results.best(program, model, figure, least_bits, most_bits)

        peers = {
            "llama.cpp, as precise": peer("llama.cpp", bits),
            "llama.cpp, any format": peer("llama.cpp", 0),
            "torch fp32": peer("torch", 32, 32),
            "torch bf16": peer("torch", 16, 16),
        }
        rows.append({
            "model": model, "weights": weights, "figure": figure, "ours": row["median"],
            "peers": {name: {"value": found[0], "weights": found[1], "setting": found[2],
                             "ratio": speedup(figure, row["median"], found[0])}
                      for name, found in peers.items() if found},
        })
    return rows


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def ratio_table(rows):
    names = ("llama.cpp, as precise", "llama.cpp, any format", "torch fp32", "torch bf16")
    header = ["model", "weights", "figure", "ours", *names]

    def cell(found, name):
        if not found:
            return "-"
        note = f" ({found['weights']}; {found['setting']})" if name.startswith("llama") else ""
        return f"**{found['ratio']:.2f}x** of {number(found['value'])}{note}"

    return table(header, [[row["model"], row["weights"], TITLES[row["figure"]],
                           number(row["ours"]),
                           *(cell(row["peers"].get(name), name) for name in names)]
                          for row in rows])


def sample_table(rows):
    header = ["program", "model", "weights", "setting", "figure", "min", "median", "max", "runs",
              "disturbed"]
    return table(header, [[row["program"], row["model"], row["weights"], row["setting"],
                           TITLES[row["figure"]], number(row["minimum"]), number(row["median"]),
                           number(row["maximum"]), str(len(row["samples"])),
                           "yes" if row["disturbed"] else ""] for row in rows])


def markdown(facts, results):
    """facts: what was run where, as (name, value) in order."""
    parts = ["\n".join(f"- {name}: {value}" for name, value in facts.items())]
    rows = comparison(results)
    if rows:
        parts.append("How many times faster ours is (medians; each peer in its best setting):\n\n"
                     + ratio_table(rows))
    parts.append("All that was measured:\n\n" + sample_table(results.rows()))
    return "\n\n".join(parts) + "\n"
