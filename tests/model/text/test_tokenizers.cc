#include "tests/model/text/test_tokenizers.h"

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "absl/status/statusor.h"
#include "base/check.h"
#include "tests/golden_reader/golden_reader.h"

namespace parrot {

std::string TestTokenizerJson(std::string_view name) {
  if (name == "qwen") return ReadGoldenFile("tokenizer/qwen.tokenizer.json.xz");
  return ReadGoldenFile("checkpoints/" + std::string(name) + "/tokenizer.json");
}

const Tokenizer& TestTokenizer(std::string_view name) {
  static std::mutex mutex;
  static std::map<std::string, std::unique_ptr<Tokenizer>, std::less<>> tokenizers;
  const std::lock_guard<std::mutex> lock(mutex);
  auto it = tokenizers.find(name);
  if (it == tokenizers.end()) {
    absl::StatusOr<std::unique_ptr<Tokenizer>> loaded =
        Tokenizer::FromJson(TestTokenizerJson(name));
    PARROT_CHECK(loaded.ok()) << loaded.status().ToString();
    it = tokenizers.emplace(std::string(name), *std::move(loaded)).first;
  }
  return *it->second;
}

}  // namespace parrot
