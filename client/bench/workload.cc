#include "client/bench/workload.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/error_status.h"
#include "base/status_macros.h"
#include "client/bench/synthetic_text.h"
#include "client/conversation.h"

namespace parrot {
namespace {

// Streams of random numbers that must not meet.
enum class Purpose : uint32_t { kRequest, kPicture, kPrefix };

std::mt19937_64 Random(uint64_t seed, Purpose purpose, uint64_t number) {
  std::seed_seq sequence = {static_cast<uint32_t>(seed),
                            static_cast<uint32_t>(seed >> 32),
                            static_cast<uint32_t>(purpose),
                            static_cast<uint32_t>(number),
                            static_cast<uint32_t>(number >> 32)};
  return std::mt19937_64(sequence);
}

int32_t DrawFrom(TokenRange range, std::mt19937_64& random) {
  return std::uniform_int_distribution<int32_t>(range.min, range.max)(random);
}

double DrawFraction(std::mt19937_64& random) {
  return std::uniform_real_distribution<double>(0, 1)(random);
}

size_t DrawLanguage(const std::vector<LanguageWeight>& languages, std::mt19937_64& random) {
  double total = 0;
  for (const LanguageWeight& language : languages) total += language.weight;
  double at = DrawFraction(random) * total;
  for (size_t i = 0; i + 1 < languages.size(); ++i) {
    at -= languages[i].weight;
    if (at < 0) return i;
  }
  return languages.size() - 1;
}

absl::Status TooManyPictures(int64_t limit, const char* unit) {
  return ErrorStatus(absl::StatusCode::kInvalidArgument,
                     absl::StrCat("more than ", limit, unit, " of pictures: give --num-images"),
                     {.reason = "TOO_MANY_PICTURES", .limit = absl::StrCat(limit)});
}

}  // namespace

absl::StatusOr<std::unique_ptr<SyntheticWorkload>> SyntheticWorkload::Create(
    const SyntheticOptions& options, const std::function<bool()>& cancelled) {
  PARROT_CHECK(!options.languages.empty() && !options.image_sizes.empty());
  std::unique_ptr<SyntheticWorkload> workload(new SyntheticWorkload(options));
  RETURN_IF_ERROR(workload->MakePictures(cancelled));
  if (options.shared_prefix_tokens > 0) {
    for (const LanguageWeight& language : options.languages) {
      std::mt19937_64 random = Random(options.seed, Purpose::kPrefix, workload->prefixes_.size());
      workload->prefixes_.push_back(
          workload->Text(language.language, options.shared_prefix_tokens, random));
    }
  }
  return workload;
}

SyntheticWorkload::Draw SyntheticWorkload::DrawRequest(int64_t ordinal) const {
  Draw draw;
  draw.random = Random(options_.seed, Purpose::kRequest, ordinal);
  draw.language_idx = DrawLanguage(options_.languages, draw.random);
  draw.has_image = DrawFraction(draw.random) < options_.image_fraction;
  const int64_t any = std::uniform_int_distribution<int64_t>(
      0, std::max<int64_t>(options_.num_images, 1) - 1)(draw.random);
  draw.image_idx = options_.num_images > 0 ? any : ordinal;
  draw.input_tokens = DrawFrom(options_.input_tokens, draw.random);
  draw.output_tokens = DrawFrom(options_.output_tokens, draw.random);
  return draw;
}

std::string SyntheticWorkload::Text(const std::string& language,
                                    int32_t num_tokens,
                                    std::mt19937_64& random) const {
  const auto found = options_.tokens_per_word.find(language);
  const double tokens_per_word = found == options_.tokens_per_word.end() ? 1 : found->second;
  const int64_t num_words = std::max<int64_t>(1, std::llround(num_tokens / tokens_per_word));
  return SyntheticText(language, num_words, random);
}

absl::Status SyntheticWorkload::MakePictures(const std::function<bool()>& cancelled) {
  if (options_.image_fraction <= 0) return absl::OkStatus();
  const bool is_shared = options_.num_images > 0;
  const int64_t num_pictures = is_shared ? options_.num_images : options_.num_requests;
  if (num_pictures > kMaxPictures) return TooManyPictures(kMaxPictures, "");
  pictures_.resize(num_pictures);
  int64_t num_bytes = 0;
  for (int64_t i = 0; i < num_pictures; ++i) {
    if (!is_shared && !DrawRequest(i).has_image) continue;
    if (cancelled && cancelled()) return absl::CancelledError("cancelled while pictures were made");
    std::mt19937_64 random = Random(options_.seed, Purpose::kPicture, i);
    const PictureSize size = options_.image_sizes[random() % options_.image_sizes.size()];
    pictures_[i] = SyntheticPicture(size, random());
    num_bytes += static_cast<int64_t>(pictures_[i].size());
    if (num_bytes > kMaxPictureBytes) return TooManyPictures(kMaxPictureBytes, " bytes");
  }
  return absl::OkStatus();
}

BenchRequest SyntheticWorkload::Make(int64_t ordinal) const {
  Draw draw = DrawRequest(ordinal);
  const std::string& language = options_.languages[draw.language_idx].language;
  BenchRequest made{.language = language, .num_images = draw.has_image ? 1 : 0};
  v1::GenerateRequest& request = made.request;
  if (options_.model.has_value()) request.set_model(*options_.model);
  if (!prefixes_.empty()) {
    AddMessage(SystemMessage(prefixes_[draw.language_idx]), request.mutable_messages());
  }
  std::vector<std::string> images;
  if (draw.has_image) images.push_back(pictures_.at(draw.image_idx));
  AddMessage(UserMessage(Text(language, draw.input_tokens, draw.random), std::move(images)),
             request.mutable_messages());
  request.set_language(language);
  request.mutable_stop()->set_max_tokens(draw.output_tokens);
  if (options_.ignore_eos) request.mutable_stop()->set_ignore_eos(true);
  return made;
}

}  // namespace parrot
