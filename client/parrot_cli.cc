// parrot-cli: wires the command line to the commands. docs/cli.md is the manual.
#include <cstdlib>
#include <exception>
#include <iostream>
#include <variant>

#include "client/cli/cli_options.h"
#include "client/cli/commands.h"
#include "client/cli/console.h"

int main(int argc, char** argv) {
  // gRPC's own log lines say less than the errors shown here; a set variable still wins.
  setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);
  try {
    const auto parsed = parrot::ParseCommandLine(argc, argv, std::cout, std::cerr);
    if (const int* exit_code = std::get_if<int>(&parsed)) return *exit_code;
    const auto& options = std::get<parrot::CliOptions>(parsed);
    parrot::Console console(options.quiet);
    return parrot::RunCommand(options, console);
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << "\n";
    return parrot::kExitFailure;
  }
}
