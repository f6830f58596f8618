// Mutants: broken schedulers, for the proof that the simulation catches what it is there to catch.
// Product code stays as it is: a mutant changes what travels between the sound engine and the rest
// of the world (requests and options on their way in, each step on its way to the executor, its
// result on the way back, the events on their way to the sink), so that together they behave as an
// engine with that bug would.
//
// Confined to one thread. Deterministic for one seed.
#ifndef PARROT_TESTS_SCHEDULER_MUTANTS_H_
#define PARROT_TESTS_SCHEDULER_MUTANTS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <vector>

#include "model/api/model_executor.h"
#include "model/api/step.h"
#include "scheduler/engine.h"
#include "scheduler/event.h"
#include "scheduler/request.h"

namespace parrot {

enum class Mutant {
  kNone,
  // Blocks and slots.
  kGivesABlockTwice,       // a block of a running sequence goes to another
  kLosesABlock,            // a table grows, and the worker does not hear of it
  kForgetsARetiredSlot,    // the worker keeps a slot, and its blocks, for ever
  kLosesACopy,             // a block that is to be copied is not
  kSwapsTwoBlocks,         // of one table: positions land in each other's place
  kSkipsUncomputedPrefix,  // takes blocks for computed that are not
  kKeysByImageAlone,       // the stale cache key: the routing text is no part of it
  // Images.
  kForgetsAnEviction,     // the worker keeps features that nobody knows of
  kEvictsWhatIsNeeded,    // features go before they are read
  kRoutesByAnothersText,  // a route job reads the text of the request before
  kShiftsVisualRows,      // visual tokens land one row off
  // Budgets, time.
  kExceedsTheTokensBudget,
  kExceedsTheImagesBudget,
  kRunsTooManySequences,
  kIgnoresDeadlines,
  // Results and events.
  kSwapsTwoTokens,  // of two sequences in one step
  kLosesAToken,
  kRepeatsAToken,
  kLosesAnEnd,
  kRepeatsAnEnd,
  kEndsBeforeTheLastToken,
  kLosesARouting,
  kMistakesTheReason,  // stop for length
};
// All but kNone.
std::vector<Mutant> AllMutants();
const char* MutantName(Mutant mutant);

class MutantExecutor final : public ModelExecutor {
 public:
  // Borrows `executor`, which outlives it.
  MutantExecutor(Mutant mutant, uint64_t seed, ModelExecutor* executor)
      : mutant_(mutant), random_(seed), executor_(*executor) {}

  const ExecutorCapacity& capacity() const override { return executor_.capacity(); }
  void Submit(StepResult buffers, StepDone done) override;

  EngineOptions Mutate(EngineOptions options);
  std::shared_ptr<const Request> Mutate(std::shared_ptr<const Request> request);
  void Mutate(std::vector<EngineEvent>* events);
  // How often it did wrong. 0 proves nothing.
  int64_t num_mutations() const { return num_mutations_; }

 private:
  // One opportunity in four is taken.
  bool Now();
  void MutateInput(StepInput* input);
  void MutateBlocks(StepInput* input);
  void MutateImages(StepInput* input);
  void SkipPrefix(StepInput* input);
  void MutateOutput(StepOutput* output);
  void RememberTables(const StepInput& input);
  template <typename Event>
  void MutateEvent(std::vector<EngineEvent>* events, bool repeat);

  const Mutant mutant_;
  std::mt19937_64 random_;
  ModelExecutor& executor_;
  int64_t num_mutations_ = 0;
  std::map<SlotId, BlockId> last_block_;          // of each table that the worker knows
  std::map<SlotId, std::vector<TokenId>> texts_;  // of each slot's prompt
  std::vector<TokenId> text_before_;              // of the route job before
};

}  // namespace parrot

#endif  // PARROT_TESTS_SCHEDULER_MUTANTS_H_
