#include "client/reply_names.h"

#include "absl/strings/ascii.h"
#include "absl/strings/strip.h"

namespace parrot {

const char* CacheLevelName(v1::CacheLevel level) {
  switch (level) {
    case v1::CACHE_LEVEL_FEATURES:
      return "features";
    case v1::CACHE_LEVEL_EXPERTS:
      return "experts";
    case v1::CACHE_LEVEL_KV:
      return "kv";
    default:
      return "none";
  }
}

std::string FinishReasonName(v1::FinishReason reason) {
  if (!v1::FinishReason_IsValid(reason)) return "unspecified";
  return absl::AsciiStrToLower(absl::StripPrefix(v1::FinishReason_Name(reason), "FINISH_REASON_"));
}

std::vector<std::pair<const char*, double>> StageSeconds(const v1::Timings& timings) {
  return {{"decode_image", timings.decode_image()},
          {"preprocess", timings.preprocess()},
          {"tokenize", timings.tokenize()},
          {"queue", timings.queue()},
          {"clip", timings.clip()},
          {"projector", timings.projector()},
          {"router", timings.router()},
          {"experts", timings.experts()},
          {"prefill", timings.prefill()},
          {"decode", timings.decode()},
          {"detokenize", timings.detokenize()},
          {"time_to_first_token", timings.time_to_first_token()},
          {"total", timings.total()}};
}

}  // namespace parrot
