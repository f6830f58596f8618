// Reads the committed golden data (tests/golden): one JSON object per line, plain or xz-compressed,
// and whole files. For tests only. A file that is missing, damaged or without lines ends the test
// program with a message: a golden test must never pass on no data.
//
//   for (const nlohmann::json& c : ReadJsonLines("tokenizer/cases.jsonl.xz")) { ... }
#ifndef PARROT_TESTS_GOLDEN_READER_GOLDEN_READER_H_
#define PARROT_TESTS_GOLDEN_READER_GOLDEN_READER_H_

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace parrot {

// Absolute path of a file or folder of the repository.
std::string SourcePath(std::string_view relative_path);

// Absolute path of a file or folder below tests/golden; "" gives tests/golden itself.
std::string GoldenPath(std::string_view relative_path);

// The bytes of a file below tests/golden; a name that ends in .xz is decompressed.
std::string ReadGoldenFile(std::string_view relative_path);

// The lines of a .jsonl or .jsonl.xz file below tests/golden; never empty.
std::vector<nlohmann::json> ReadJsonLines(std::string_view relative_path);

}  // namespace parrot

#endif  // PARROT_TESTS_GOLDEN_READER_GOLDEN_READER_H_
