#!/usr/bin/env python3
"""Counts what a test run really ran, from the XML files of ctest and GoogleTest.

usage: summarize_tests.py RESULTS_DIR

A ctest test that wrote a GoogleTest XML file counts by its cases, one that printed "CASES: N passed,
M failed, K skipped" by those, any other as one. Skipped
cases are failures of the run: a skipped test that nobody counts is a defect. The last line has the
form "N passed, M failed, K skipped".
"""

import pathlib
import re
import sys
import xml.etree.ElementTree as ElementTree


def count_gtest(path):
    passed = failed = skipped = 0
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            failed += 1
        elif case.get("result") == "skipped" or case.get("status") == "notrun":
            skipped += 1
        else:
            passed += 1
    return passed, failed, skipped


def count_preset(results, ctest_xml):
    preset = ctest_xml.name.split(".")[0]
    cases = {p.stem: count_gtest(p) for p in (results / preset).glob("*.xml")}
    total = [0, 0, 0]
    covered = set()
    for test in ElementTree.parse(ctest_xml).getroot().iter("testcase"):
        output = test.findtext("system-out") or ""
        covered.update(re.findall(r"^COVERED: (.+)$", output, re.MULTILINE))
        ok = test.get("status") == "run" and test.find("failure") is None
        counts = cases.get(test.get("name"))
        own_count = re.search(r"^CASES: (\d+) passed, (\d+) failed, (\d+) skipped$", output,
                              re.MULTILINE)
        if own_count:
            counts = tuple(int(n) for n in own_count.groups())
        if counts is None:
            skipped = test.find("skipped") is not None or test.get("status") in ("notrun", "disabled")
            counts = (0, 0, 1) if skipped else (int(ok), int(not ok), 0)
        elif not ok and counts[1] == 0:
            counts = (counts[0], 1, counts[2])  # died outside of a case
        total = [a + b for a, b in zip(total, counts)]
    return preset, total, covered


def main():
    results = pathlib.Path(sys.argv[1])
    total = [0, 0, 0]
    covered = set()
    for ctest_xml in sorted(results.glob("*.ctest.xml")):
        preset, counts, preset_covered = count_preset(results, ctest_xml)
        print(f"{preset}: {counts[0]} passed, {counts[1]} failed, {counts[2]} skipped")
        total = [a + b for a, b in zip(total, counts)]
        covered |= preset_covered
    with open("/proc/cpuinfo", encoding="utf-8") as cpuinfo:
        flags = next((line.split() for line in cpuinfo if line.startswith("flags")), [])
    known = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16")
    print("machine has: " + " ".join(flag for flag in known if flag in flags))
    print("covered: " + ("; ".join(sorted(covered)) or "nothing reported"))
    print(f"{total[0]} passed, {total[1]} failed, {total[2]} skipped")
    return 1 if total[1] or total[2] or not total[0] else 0


if __name__ == "__main__":
    sys.exit(main())
