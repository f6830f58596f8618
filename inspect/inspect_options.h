// The command line of parrot-inspect. See docs/real-checkpoints.md for how it is used.
#ifndef PARROT_INSPECT_INSPECT_OPTIONS_H_
#define PARROT_INSPECT_INSPECT_OPTIONS_H_

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "model/runtime/model_runner_factory.h"

namespace parrot {

struct CheckOptions {
  std::string dir;
  bool json = false;
};

struct TokenizeOptions {
  std::string dir;
  bool parse_special = false;
};

struct PreprocessOptions {
  std::string dir;
  std::string image_path;
  std::string output_path;
  bool npy = false;  // normalised floats instead of the picture
};

struct RunOptions {
  std::string dir;
  std::string messages_path;
  std::string prefix;  // opens the assistant's turn
  std::string extra_image_path;
  bool literal = false;
  bool parse_special = false;
  bool compat_reference = false;
  int32_t max_new_tokens = 16;
  std::string output_path;  // empty: no tensors are written
  ComputeDtype dtype = ComputeDtype::kFloat32;
  std::string device = "cpu";
  CpuOptions cpu = {.backend = "reference"};
  int32_t num_threads = 0;
};

struct QuantizeOptions {
  std::string dir;
  std::string quantization;
  std::vector<std::string> message_paths;  // prompts; empty: weights alone
  int32_t max_new_tokens = 32;
  bool json = false;
};

using InspectCommand =
    std::variant<CheckOptions, TokenizeOptions, PreprocessOptions, RunOptions, QuantizeOptions>;

struct ParsedCommandLine {
  int exit_code = 0;  // of the program when there is nothing to run: 0 after --help, 2 for misuse
  bool has_command = false;
  InspectCommand command;
};

// Prints help to standard output, and what is wrong with the command line to standard error.
ParsedCommandLine ParseCommandLine(int argc, const char* const* argv);

}  // namespace parrot

#endif  // PARROT_INSPECT_INSPECT_OPTIONS_H_
