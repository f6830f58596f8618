// The command line of parrot-world. docs/picture-world.md shows how it is used.
#ifndef PARROT_TRAIN_WORLD_WORLD_OPTIONS_H_
#define PARROT_TRAIN_WORLD_WORLD_OPTIONS_H_

#include <string>
#include <variant>

#include "train/world/world_writer.h"

namespace parrot {

struct TokenizerOptions {
  std::string corpus_path;
  std::string output_dir;
  int vocabulary_size = 2560;  // ids, the special ones included
  int max_length_tokens = 2048;
};

using WorldCommand = std::variant<WorldOptions, TokenizerOptions>;

struct WorldCommandLine {
  int exit_code = 0;  // of the program when there is nothing to do: 0 after --help, 2 for misuse
  bool has_command = false;
  WorldCommand command;
};

// Prints help to standard output, and what is wrong with the command line to standard error.
WorldCommandLine ParseWorldCommandLine(int argc, const char* const* argv);

}  // namespace parrot

#endif  // PARROT_TRAIN_WORLD_WORLD_OPTIONS_H_
