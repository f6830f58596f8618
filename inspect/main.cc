// parrot-inspect: for whoever has a checkpoint and wonders. Exit code 0, 1 failure, 2 usage.
#include <iostream>
#include <variant>

#include "absl/status/status.h"
#include "inspect/commands.h"
#include "inspect/inspect_options.h"
#include "model/runtime/openmp_policy.h"

namespace {

absl::Status RunCommand(const parrot::InspectCommand& command) {
  if (const auto* check = std::get_if<parrot::CheckOptions>(&command)) {
    return parrot::CheckCheckpoint(*check, std::cout);
  }
  if (const auto* tokenize = std::get_if<parrot::TokenizeOptions>(&command)) {
    return parrot::TokenizeLines(*tokenize, std::cin, std::cout);
  }
  if (const auto* preprocess = std::get_if<parrot::PreprocessOptions>(&command)) {
    return parrot::PreprocessImage(*preprocess);
  }
  if (const auto* quantize = std::get_if<parrot::QuantizeOptions>(&command)) {
    return parrot::QuantizeCheckpoint(*quantize, std::cout);
  }
  return parrot::RunPrompt(std::get<parrot::RunOptions>(command), std::cout);
}

}  // namespace

int main(int argc, char** argv) {
  parrot::UseSleepingOpenMpThreads(argv);
  std::ios::sync_with_stdio(false);
  const parrot::ParsedCommandLine parsed = parrot::ParseCommandLine(argc, argv);
  if (!parsed.has_command) return parsed.exit_code;
  const absl::Status status = RunCommand(parsed.command);
  std::cout.flush();
  if (!status.ok()) {
    std::cerr << "parrot-inspect: " << status.message() << '\n';
    return 1;
  }
  return 0;
}
