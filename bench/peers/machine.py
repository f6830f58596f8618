"""The machine that peers are compared on: what it is, whether others use it, and how one program
runs on it alone."""

import dataclasses
import os
import signal
import subprocess
import sys
import time

OTHERS_LIMIT = 0.03  # of one core
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
TICK_SLACK = 2  # /proc/stat counts in ticks


def busy_seconds(stat_text):
    """Seconds that the cores have worked, by the first line of /proc/stat: everything but idle and
    iowait (guests are part of user). What the hypervisor gave to others (steal) counts."""
    ticks = [int(field) for field in stat_text.split("\n", 1)[0].split()[1:9]]
    user_nice_system, irq_softirq_steal = ticks[:3], ticks[5:]
    return sum(user_nice_system + irq_softirq_steal) / TICKS_PER_SECOND


class OthersClock:
    """Processor seconds taken by anyone but this process and the children it has waited for."""

    def __init__(self):
        self._start = self._now()

    @staticmethod
    def _now():
        with open("/proc/stat", encoding="ascii") as stat:
            busy = busy_seconds(stat.read())
        mine = os.times()
        return (time.monotonic(),
                busy - mine.user - mine.system - mine.children_user - mine.children_system)

    def share_of_a_core(self):
        start, others = self._start
        now, others_now = self._now()
        slack = TICK_SLACK / TICKS_PER_SECOND
        return max(0.0, others_now - others - slack) / max(now - start, 1e-9)


def wait_until_idle(patience_s, say):
    """Waits until others take less than OTHERS_LIMIT for two seconds; False when they never did."""
    deadline = time.monotonic() + patience_s
    told = False
    while True:
        clock = OthersClock()
        time.sleep(2)
        share = clock.share_of_a_core()
        if share < OTHERS_LIMIT:
            return True
        if time.monotonic() > deadline:
            return False
        if not told:
            say(f"others take {share:.0%} of a core; waiting for an idle machine")
            told = True


@dataclasses.dataclass
class Outcome:
    stdout: str
    others: float  # share of a core that others took meanwhile


class CommandFailed(Exception):
    pass


def run_alone(command, environment):
    """Runs one program to its end. In its own session, so that an interrupt reaches us first; it
    never outlives us."""
    clock = OthersClock()
    with subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, start_new_session=True,
                          env={**os.environ, **environment}) as child:
        try:
            stdout, stderr = child.communicate()
        except BaseException:
            os.killpg(child.pid, signal.SIGKILL)
            raise
    if child.returncode:
        raise CommandFailed(f"exit status {child.returncode}: {stderr.strip()[-500:]}")
    return Outcome(stdout, clock.share_of_a_core())


def run_undisturbed(command, environment, patience_s, repeats, say):
    """Repeats a run that others disturbed; the least disturbed one counts."""
    best = None
    for _ in range(1 + repeats):
        wait_until_idle(patience_s, say)
        outcome = run_alone(command, environment)
        if best is None or outcome.others < best.others:
            best = outcome
        if best.others < OTHERS_LIMIT:
            break
        say(f"others took {outcome.others:.0%} of a core")
    return best


def describe():
    """What lscpu and the kernel say, in one line each."""
    fields = {}
    lscpu = subprocess.run(["lscpu"], capture_output=True, text=True, check=False,
                           env={**os.environ, "LC_ALL": "C"})
    for line in lscpu.stdout.splitlines():
        key, _, value = line.partition(":")
        fields[key.strip()] = value.strip()
    flags = fields.get("Flags", "").split()
    sets = [flag for flag in ("avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx512_bf16",
                              "amx_tile", "amx_bf16", "amx_int8") if flag in flags]
    with open("/proc/meminfo", encoding="ascii") as meminfo:
        kibibytes = int(meminfo.readline().split()[1])
    return {
        "cpu": f"{fields.get('Model name', '?')} (family {fields.get('CPU family', '?')}, "
               f"model {fields.get('Model', '?')}), {os.cpu_count()} CPUs",
        "caches": ", ".join(f"{name} {fields[name]}" for name in ("L1d cache", "L2 cache",
                                                                 "L3 cache") if name in fields),
        "instruction sets": " ".join(sets),
        "memory": f"{kibibytes / 2**20:.1f} GiB",
        "kernel": os.uname().release,
        "python": sys.version.split()[0],
    }
