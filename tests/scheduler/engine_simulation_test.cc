// Seeded simulations of the engine (see simulation.h).
//
// A failing seed is printed; PARROT_SIM_SEED=<seed> replays it alone with a trace of its events.
// PARROT_SIM_NUM_SEEDS changes how many seeds run.
#include <unistd.h>

#include <atomic>
#include <charconv>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <map>
#include <string>

#include "absl/strings/numbers.h"
#include "gtest/gtest.h"
#include "tests/scheduler/simulation.h"

namespace parrot {
namespace {

uint64_t FromEnvironment(const char* name, uint64_t fallback) {
  const char* text = std::getenv(name);
  uint64_t value = fallback;
  if (text != nullptr && !absl::SimpleAtoi(text, &value)) ADD_FAILURE() << name << "=" << text;
  return value;
}

// A CHECK that fails inside aborts the process: the seed must be known even then.
std::atomic<uint64_t> seed_in_progress = 0;

extern "C" void PrintSeed(int /*signal*/) {
  char line[64] = "replay with PARROT_SIM_SEED=";
  char* end =
      std::to_chars(line + std::strlen(line), line + sizeof(line) - 1, seed_in_progress).ptr;
  *end++ = '\n';
  (void)!write(STDERR_FILENO, line, static_cast<size_t>(end - line));
}

TEST(EngineSimulationTest, HoldsItsInvariantsForEverySeed) {
  if (std::getenv("PARROT_SIM_SEED") != nullptr) {
    const SimulationResult result =
        RunSimulation({.seed = FromEnvironment("PARROT_SIM_SEED", 0), .trace = true});
    EXPECT_EQ(result.status, absl::OkStatus());
    return;
  }
  std::signal(SIGABRT, PrintSeed);
  const uint64_t num_seeds = FromEnvironment("PARROT_SIM_NUM_SEEDS", 10'000);
  std::map<std::string, uint64_t> seeds_with;  // kind of event: number of seeds that saw it
  for (uint64_t seed = 0; seed < num_seeds; ++seed) {
    seed_in_progress = seed;
    const SimulationResult result = RunSimulation({.seed = seed});
    ASSERT_EQ(result.status, absl::OkStatus()) << "replay with PARROT_SIM_SEED=" << seed;
    for (const auto& [what, count] : result.counts) ++seeds_with[what];
  }
  std::signal(SIGABRT, SIG_DFL);
  // A simulation that no longer meets a case proves nothing about it.
  const std::string kinds[] = {"admitted",
                               "admitted route",
                               "another question about an image",
                               "bound of what is cached",
                               "cancel",
                               "cancel of nobody",
                               "cancel of one sequence",
                               "copied a block",
                               "cut a tower",
                               "dead at the end",
                               "drain",
                               "executor died",
                               "finished cancelled",
                               "finished deadline",
                               "finished error DEADLINE_UNREACHABLE",
                               "finished error DRAINING",
                               "finished error INFERENCE_FAILED",
                               "finished error QUEUE_TIMEOUT",
                               "finished error WORKER_UNAVAILABLE",
                               "finished length",
                               "finished stop",
                               "flush",
                               "pause or resume",
                               "preemption",
                               "prefix hit",
                               "queued behind others",
                               "ran again",
                               "refused CONTEXT_LENGTH_EXCEEDED",
                               "refused DEADLINE_UNREACHABLE",
                               "refused DRAINING",
                               "refused EMPTY_PROMPT",
                               "refused KV_CACHE_TOO_SMALL",
                               "refused QUEUE_FULL",
                               "refused WORKER_UNAVAILABLE",
                               "reused experts",
                               "reused features",
                               "reused keys and values",
                               "several sequences",
                               "slot failed",
                               "step failed",
                               "stop",
                               "the same question about another image",
                               "two steps in flight"};
  for (const std::string& kind : kinds) {
    EXPECT_GE(seeds_with[kind] * 100, num_seeds) << kind << " in " << seeds_with[kind] << " seeds";
  }
  std::cout << num_seeds << " seeds\n";
  for (const auto& [what, count] : seeds_with) std::cout << "  " << what << ": " << count << "\n";
}

TEST(EngineSimulationTest, ASeedReplaysIdentically) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const SimulationResult first = RunSimulation({.seed = seed});
    const SimulationResult second = RunSimulation({.seed = seed});
    EXPECT_EQ(first.fingerprint, second.fingerprint) << "seed " << seed;
    EXPECT_EQ(first.counts, second.counts);
  }
}

}  // namespace
}  // namespace parrot
