// The commands of parrot-cli. Each returns the process's exit code.
#ifndef PARROT_CLIENT_CLI_COMMANDS_H_
#define PARROT_CLIENT_CLI_COMMANDS_H_

#include "client/cli/cli_options.h"
#include "client/cli/console.h"

namespace parrot {

int RunGenerate(const CliOptions& options, Console& console);
int RunChat(const CliOptions& options, Console& console);
int RunRoute(const CliOptions& options, Console& console);
int RunTokenize(const CliOptions& options, Console& console);
int RunCount(const CliOptions& options, Console& console);
int RunBench(const CliOptions& options, Console& console);
int RunEval(const CliOptions& options, Console& console);
int RunHealth(const CliOptions& options, Console& console);
int RunModels(const CliOptions& options, Console& console);

// The command that `options` names.
int RunCommand(const CliOptions& options, Console& console);

}  // namespace parrot

#endif  // PARROT_CLIENT_CLI_COMMANDS_H_
