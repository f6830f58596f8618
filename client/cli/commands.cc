#include "client/cli/commands.h"

#include "base/check.h"

namespace parrot {

int RunCommand(const CliOptions& options, Console& console) {
  switch (options.command) {
    case CliCommand::kGenerate:
      return RunGenerate(options, console);
    case CliCommand::kChat:
      return RunChat(options, console);
    case CliCommand::kRoute:
      return RunRoute(options, console);
    case CliCommand::kTokenize:
      return RunTokenize(options, console);
    case CliCommand::kCount:
      return RunCount(options, console);
    case CliCommand::kBench:
      return RunBench(options, console);
    case CliCommand::kEval:
      return RunEval(options, console);
    case CliCommand::kHealth:
      return RunHealth(options, console);
    case CliCommand::kModels:
      return RunModels(options, console);
  }
  PARROT_CHECK(false) << "unknown command";
  return kExitFailure;
}

}  // namespace parrot
