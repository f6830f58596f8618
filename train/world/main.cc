// parrot-world: the data that the tiny model is trained and measured on. Exit code 0, 1 failure,
// 2 usage.
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <system_error>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "base/status_macros.h"
#include "train/world/byte_pair_trainer.h"
#include "train/world/phrasebook.h"
#include "train/world/tokenizer_files.h"
#include "train/world/world_options.h"
#include "train/world/world_writer.h"

namespace {

absl::Status TrainTokenizer(const parrot::TokenizerOptions& options) {
  std::ifstream file(options.corpus_path, std::ios::binary);
  if (!file) {
    return absl::NotFoundError("cannot read '" + options.corpus_path +
                               "': " + std::strerror(errno));
  }
  const std::string corpus{std::istreambuf_iterator<char>(file), {}};
  std::error_code error;
  std::filesystem::create_directories(options.output_dir, error);
  if (error) return absl::InternalError(options.output_dir + ": " + error.message());

  const std::vector<parrot::Phrasebook> books = parrot::BuiltInPhrasebooks();
  parrot::WordCounts counts;
  RETURN_IF_ERROR(parrot::CountWords(
      corpus, books[static_cast<size_t>(parrot::Language::kChinese)].segments(), &counts));
  const auto num_new_tokens = static_cast<size_t>(options.vocabulary_size - 256 - 3);
  const std::vector<parrot::LearnedMerge> merges = parrot::LearnMerges(counts, num_new_tokens);
  if (merges.size() < num_new_tokens) {
    std::cerr << "parrot-world: the corpus gives " << merges.size() << " of " << num_new_tokens
              << " merges\n";
  }
  for (const auto& [name, text] : parrot::TokenizerFiles(merges, options.max_length_tokens)) {
    RETURN_IF_ERROR(parrot::WriteWorldFile(options.output_dir + "/" + name, text));
  }
  return absl::OkStatus();
}

}  // namespace

int main(int argc, char** argv) {
  const parrot::WorldCommandLine parsed = parrot::ParseWorldCommandLine(argc, argv);
  if (!parsed.has_command) return parsed.exit_code;
  const auto* tokenizer = std::get_if<parrot::TokenizerOptions>(&parsed.command);
  const absl::Status status =
      tokenizer != nullptr ? TrainTokenizer(*tokenizer)
                           : parrot::WriteWorld(std::get<parrot::WorldOptions>(parsed.command));
  if (!status.ok()) {
    std::cerr << "parrot-world: " << status.message() << '\n';
    return 1;
  }
  return 0;
}
