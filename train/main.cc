// parrot-train. Exit code 0, 1 failure, 2 usage, 3 interrupted with a checkpoint: --resume goes on.
#include <atomic>
#include <csignal>
#include <iostream>
#include <variant>

#include "absl/status/status.h"
#include "model/runtime/openmp_policy.h"
#include "train/fresh_model.h"
#include "train/stage_runner.h"
#include "train/train_options.h"

namespace {

constexpr int kExitInterrupted = 3;

std::atomic<bool> stop = false;
static_assert(std::atomic<bool>::is_always_lock_free);

void OnSignal(int) { stop.store(true); }

// The first signal ends the run after its step; a second one ends the process.
void CatchSignals() {
  struct sigaction action = {};
  action.sa_handler = OnSignal;
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  for (const int signal : {SIGINT, SIGTERM}) sigaction(signal, &action, nullptr);
}

}  // namespace

int main(int argc, char** argv) {
  parrot::UseSleepingOpenMpThreads(argv);
  const parrot::ParsedTrainCommand parsed = parrot::ParseTrainCommand(argc, argv);
  if (!parsed.has_command) return parsed.exit_code;
  absl::Status status;
  if (const auto* fresh = std::get_if<parrot::FreshModelOptions>(&parsed.command)) {
    status = parrot::MakeFreshModel(*fresh);
  } else {
    CatchSignals();
    const auto end = parrot::RunStage(std::get<parrot::StageOptions>(parsed.command), stop);
    if (end.ok() && *end == parrot::RunEnd::kInterrupted) {
      std::cerr << "interrupted; the checkpoint is saved, --resume goes on from it\n";
      return kExitInterrupted;
    }
    status = end.status();
  }
  if (!status.ok()) {
    std::cerr << "parrot-train: " << status.message() << '\n';
    return 1;
  }
  return 0;
}
