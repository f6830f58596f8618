// The requests of a benchmark: a function from a request's ordinal to the request, so that a run is
// the same whatever order or concurrency its requests are sent in.
//
// SyntheticWorkload makes questions in a mix of languages, some with pictures; DatasetWorkload
// (dataset_workload.h) takes them from a file.
#ifndef PARROT_CLIENT_BENCH_WORKLOAD_H_
#define PARROT_CLIENT_BENCH_WORKLOAD_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/bench/synthetic_picture.h"
#include "parrot/v1/generation.pb.h"

namespace parrot {

struct BenchRequest {
  v1::GenerateRequest request;
  std::string language;  // row of the report; may be empty
  int32_t num_images = 0;
};

// Immutable after construction.
class Workload {
 public:
  virtual ~Workload() = default;
  // `ordinal` counts from 0, warm-up requests included.
  virtual BenchRequest Make(int64_t ordinal) const = 0;
};

// Both ends inclusive.
struct TokenRange {
  int32_t min = 0;
  int32_t max = 0;
};

struct LanguageWeight {
  std::string language;
  double weight = 1;

  friend bool operator==(const LanguageWeight&, const LanguageWeight&) = default;
};

struct SyntheticOptions {
  uint64_t seed = 0;
  std::optional<std::string> model;                  // served name
  std::vector<LanguageWeight> languages = {{"en"}};  // not empty; drawn by weight
  // Tokens of the question, about: words are counted out by `tokens_per_word`.
  TokenRange input_tokens = {64, 64};
  TokenRange output_tokens = {64, 64};  // max_tokens, drawn evenly
  bool ignore_eos = false;
  // Tokens, about, of a system turn that all requests of a language share; 0: none. Pictures come
  // after it, so it is what requests can reuse of each other.
  int32_t shared_prefix_tokens = 0;
  double image_fraction = 0;                    // of the requests have one picture
  std::vector<PictureSize> image_sizes = {{}};  // not empty; drawn evenly
  // Different pictures, drawn evenly; 0: each request has its own.
  int64_t num_images = 0;
  // Requests that may be asked for; bounds the pictures when each request has its own.
  int64_t num_requests = 0;
  // By language; 1 where unknown.
  std::map<std::string, double> tokens_per_word;
};

class SyntheticWorkload final : public Workload {
 public:
  // Makes all pictures now, so that the load generator has no such work while it measures.
  // INVALID_ARGUMENT when they would be more than kMaxPictures or kMaxPictureBytes. `cancelled` is
  // asked between pictures; CANCELLED once it is true.
  static absl::StatusOr<std::unique_ptr<SyntheticWorkload>> Create(
      const SyntheticOptions& options, const std::function<bool()>& cancelled = {});

  BenchRequest Make(int64_t ordinal) const override;

  static constexpr int64_t kMaxPictures = 1'000'000;
  static constexpr int64_t kMaxPictureBytes = int64_t{4} << 30;

 private:
  // What the seed decides about one request.
  struct Draw {
    size_t language_idx = 0;
    bool has_image = false;
    int64_t image_idx = 0;
    int32_t input_tokens = 0;
    int32_t output_tokens = 0;
    std::mt19937_64 random;  // for the text
  };

  explicit SyntheticWorkload(const SyntheticOptions& options) : options_(options) {}

  Draw DrawRequest(int64_t ordinal) const;
  std::string Text(const std::string& language, int32_t num_tokens, std::mt19937_64& random) const;
  absl::Status MakePictures(const std::function<bool()>& cancelled);

  const SyntheticOptions options_;
  // PNG files by image_idx; empty where no request has that one. Constant after Create.
  std::vector<std::string> pictures_;
  std::vector<std::string> prefixes_;  // by language_idx
};

}  // namespace parrot

#endif  // PARROT_CLIENT_BENCH_WORKLOAD_H_
