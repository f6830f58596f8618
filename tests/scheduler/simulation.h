// A seeded simulation of one engine: the real Engine, Scheduler and BlockPool, a fake executor that
// checks each step, a clock that moves when the simulation says so, and one thread. Requests
// arrive, are cancelled, expire, run out of blocks; steps and slots fail; the engine drains or
// stops. After every event the invariants are checked; at the end every admitted request must have
// had exactly one FinishEvent, with the tokens that it would have got alone.
//
// The same seed gives the same run, on every machine.
#ifndef PARROT_TESTS_SCHEDULER_SIMULATION_H_
#define PARROT_TESTS_SCHEDULER_SIMULATION_H_

#include <cstdint>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "tests/scheduler/mutants.h"

namespace parrot {

struct SimulationOptions {
  uint64_t seed = 0;
  int32_t num_events = 250;
  bool trace = false;  // prints every event to standard error
  Mutant mutant = Mutant::kNone;
};

struct SimulationResult {
  absl::Status status;                    // what went wrong first
  std::map<std::string, int64_t> counts;  // how often each kind of event, refusal and end occurred
  uint64_t fingerprint = 0;               // of everything that was reported, in order
  int64_t num_mutations = 0;              // how often the mutant did wrong
};

SimulationResult RunSimulation(const SimulationOptions& options);

}  // namespace parrot

#endif  // PARROT_TESTS_SCHEDULER_SIMULATION_H_
