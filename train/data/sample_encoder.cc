#include "train/data/sample_encoder.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "base/status_macros.h"
#include "model/text/utf8.h"

namespace parrot {
namespace {

// Python's str.isspace.
bool IsSpace(char32_t c) {
  return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
         c == 0x205f || c == 0x3000;
}

std::string_view Strip(std::string_view text) {
  size_t begin = text.size(), end = 0;
  for (size_t i = 0; i < text.size();) {
    const Utf8Step step = DecodeUtf8(text, i);
    if (step.kind != Utf8Kind::kValid || !IsSpace(step.code_point)) {
      begin = std::min(begin, i);
      end = i + static_cast<size_t>(step.length);
    }
    i += static_cast<size_t>(step.length);
  }
  return begin < end ? text.substr(begin, end - begin) : std::string_view();
}

// The image's place goes to the front of its message.
std::string Normalise(std::string_view text) {
  if (text.find(kImageText) == std::string_view::npos) return std::string(text);
  std::string rest(text);
  for (size_t at = 0; (at = rest.find(kImageText, at)) != std::string::npos;) {
    rest.erase(at, kImageText.size());
  }
  const std::string front = std::string(kImageText) + "\n" + std::string(Strip(rest));
  return std::string(Strip(front));
}

}  // namespace

SampleEncoder::SampleEncoder(const Tokenizer& tokenizer, int32_t max_length)
    : tokenizer_(tokenizer), max_length_(max_length) {}

absl::Status SampleEncoder::AppendTurn(const TrainingTurn& turn,
                                       bool is_last,
                                       EncodedSample* out) const {
  const EncodeOptions parse = {.parse_special = true};
  const std::string header = std::string(ChatRoleName(turn.role)) + "\n";
  const std::string text = header + Normalise(turn.text);
  std::vector<TokenId>& ids = out->ids;
  const size_t begin = ids.size();
  ids.push_back(tokenizer_.im_start_id());
  for (size_t at = 0; at != std::string::npos;) {
    const size_t end = text.find(kImageText, at);
    RETURN_IF_ERROR(
        tokenizer_.AppendEncoded(std::string_view(text).substr(at, end - at), parse, &ids));
    if (end != std::string::npos) ids.push_back(kVisualToken);
    at = end == std::string::npos ? end : end + kImageText.size();
  }
  ids.push_back(tokenizer_.im_end_id());
  if (!is_last) RETURN_IF_ERROR(tokenizer_.AppendEncoded("\n", parse, &ids));
  out->labels.resize(ids.size(), kIgnoredLabel);
  if (turn.role != ChatRole::kAssistant) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::vector<TokenId> header_ids, tokenizer_.Encode(header, parse));
  for (size_t i = begin + 1 + header_ids.size(); i < ids.size(); ++i) {
    if (ids[i] != kVisualToken) out->labels[i] = ids[i];
  }
  return absl::OkStatus();
}

absl::StatusOr<EncodedSample> SampleEncoder::Encode(const TrainingSample& sample) const {
  EncodedSample out;
  const std::vector<TrainingTurn>& turns = sample.turns;
  if (turns.empty() || turns[0].role != ChatRole::kSystem) {
    const TrainingTurn system = {.role = ChatRole::kSystem,
                                 .text = std::string(kDefaultSystemText)};
    RETURN_IF_ERROR(AppendTurn(system, turns.empty(), &out));
  }
  for (size_t i = 0; i < turns.size(); ++i) {
    RETURN_IF_ERROR(AppendTurn(turns[i], i + 1 == turns.size(), &out));
  }
  const auto places = std::count(out.ids.begin(), out.ids.end(), kVisualToken);
  if (places > 1) return absl::InvalidArgumentError("more than one turn holds <image>");
  if (places == 1 && sample.image_path.empty()) {
    return absl::InvalidArgumentError("holds <image> and names no image");
  }
  return out;
}

ModelText SampleEncoder::Prepare(const EncodedSample& sample) const {
  ModelText text;
  const size_t length = std::min(sample.ids.size(), static_cast<size_t>(max_length_));
  for (size_t i = 0; i < length; ++i) {
    const TokenId id = sample.ids[i];
    if (id == tokenizer_.end_of_text_id()) continue;
    if (id == kVisualToken) {
      text.image_at = static_cast<int32_t>(text.ids.size());
      continue;
    }
    text.ids.push_back(id);
    text.labels.push_back(sample.labels[i]);
  }
  return text;
}

}  // namespace parrot
