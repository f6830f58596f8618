#include "train/world/byte_pair_trainer.h"

#include <algorithm>
#include <unordered_map>

#include "base/status_macros.h"
#include "model/text/qwen_pretokenizer.h"
#include "model/text/utf8.h"

namespace parrot {
namespace {

bool IsHan(char32_t c) { return c >= 0x4E00 && c <= 0x9FFF; }

// Bytes of the run of Han characters at the start.
size_t HanRun(std::string_view text) {
  size_t size = 0;
  while (size < text.size()) {
    const Utf8Step step = DecodeUtf8(text, size);
    if (!IsHan(step.code_point)) break;
    size += static_cast<size_t>(step.length);
  }
  return size;
}

size_t LongestSegment(std::string_view run, const std::vector<std::string>& segments) {
  auto longest = static_cast<size_t>(DecodeUtf8(run, 0).length);
  for (const std::string& segment : segments) {
    if (segment.size() > longest && run.substr(0, segment.size()) == segment) {
      longest = segment.size();
    }
  }
  return longest;
}

void AddWord(std::string_view word, WordCounts* counts) {
  if (!word.empty()) ++(*counts)[std::string(word)];
}

void AddPiece(std::string_view piece,
              const std::vector<std::string>& segments,
              WordCounts* counts) {
  size_t begin = 0;  // of what is not Han
  for (size_t i = 0; i < piece.size();) {
    size_t han = HanRun(piece.substr(i));
    if (han == 0) {
      i += static_cast<size_t>(DecodeUtf8(piece, i).length);
      continue;
    }
    AddWord(piece.substr(begin, i - begin), counts);
    while (han > 0) {
      const size_t size = LongestSegment(piece.substr(i, han), segments);
      AddWord(piece.substr(i, size), counts);
      i += size;
      han -= size;
    }
    begin = i;
  }
  AddWord(piece.substr(begin), counts);
}

using TokenPair = std::pair<int32_t, int32_t>;
struct PairHash {
  size_t operator()(TokenPair pair) const {
    const uint64_t key =
        (static_cast<uint64_t>(pair.first) << 32) | static_cast<uint32_t>(pair.second);
    return static_cast<size_t>(key * 0x9E3779B97F4A7C15);
  }
};

struct Word {
  std::vector<int32_t> tokens;
  int64_t count = 0;
};

class MergeLearner {
 public:
  explicit MergeLearner(const WordCounts& counts) {
    for (int byte = 0; byte < 256; ++byte) IdOf(std::string(1, static_cast<char>(byte)));
    words_.reserve(counts.size());
    for (const auto& [text, count] : counts) {
      Word word{.count = count};
      for (const char c : text) word.tokens.push_back(static_cast<unsigned char>(c));
      AddPairs(word, count);
      words_.push_back(std::move(word));
    }
  }

  std::vector<LearnedMerge> Learn(size_t max_new_tokens) {
    const size_t max_tokens = tokens_.size() + max_new_tokens;
    std::vector<LearnedMerge> merges;
    while (tokens_.size() < max_tokens) {
      const auto best =
          std::max_element(pairs_.begin(), pairs_.end(), [](const auto& a, const auto& b) {
            return a.second != b.second ? a.second < b.second : a.first > b.first;
          });
      if (best == pairs_.end() || best->second < 2) break;
      const TokenPair pair = best->first;
      merges.emplace_back(tokens_[static_cast<size_t>(pair.first)],
                          tokens_[static_cast<size_t>(pair.second)]);
      const int32_t merged = IdOf(merges.back().first + merges.back().second);
      for (Word& word : words_) Join(pair, merged, word);
    }
    return merges;
  }

 private:
  int32_t IdOf(std::string bytes) {
    const auto [place, is_new] = ids_.try_emplace(bytes, static_cast<int32_t>(tokens_.size()));
    if (is_new) tokens_.push_back(std::move(bytes));
    return place->second;
  }

  void AddPairs(const Word& word, int64_t count) {
    for (size_t i = 1; i < word.tokens.size(); ++i) {
      const auto place = pairs_.try_emplace({word.tokens[i - 1], word.tokens[i]}, 0).first;
      place->second += count;
      if (place->second == 0) pairs_.erase(place);
    }
  }

  void Join(TokenPair pair, int32_t merged, Word& word) {
    const auto begins = [&](size_t i) {
      return i + 1 < word.tokens.size() && word.tokens[i] == pair.first &&
             word.tokens[i + 1] == pair.second;
    };
    size_t i = 0;
    while (i < word.tokens.size() && !begins(i)) ++i;
    if (i == word.tokens.size()) return;
    AddPairs(word, -word.count);
    std::vector<int32_t> joined;
    for (i = 0; i < word.tokens.size(); ++i) {
      const bool join = begins(i);
      joined.push_back(join ? merged : word.tokens[i]);
      if (join) ++i;
    }
    word.tokens = std::move(joined);
    AddPairs(word, word.count);
  }

  std::vector<std::string> tokens_;
  std::unordered_map<std::string, int32_t> ids_;
  std::vector<Word> words_;
  std::unordered_map<TokenPair, int64_t, PairHash> pairs_;
};

}  // namespace

absl::Status CountWords(std::string_view text,
                        const std::vector<std::string>& segments,
                        WordCounts* counts) {
  RETURN_IF_ERROR(ValidateUtf8(text));
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = QwenPieceEnd(text, begin);
    AddPiece(text.substr(begin, end - begin), segments, counts);
    begin = end;
  }
  return absl::OkStatus();
}

std::vector<LearnedMerge> LearnMerges(const WordCounts& counts, size_t max_new_tokens) {
  return MergeLearner(counts).Learn(max_new_tokens);
}

}  // namespace parrot
