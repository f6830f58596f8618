// GenerateSpec: what a client asked for, in the words of no protocol. gRPC, HTTP and KServe parse
// into it; the Validator alone judges it, so a rule is written once. Everything that a client may
// leave out is std::optional (or empty), and options that this server does not support are here
// too, because they are refused and never ignored.
//
// Plain data: owns its bytes, moves cheaply, confined to the thread that holds it.
#ifndef PARROT_SERVER_FRONTEND_GENERATE_SPEC_H_
#define PARROT_SERVER_FRONTEND_GENERATE_SPEC_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "model/api/image_input.h"
#include "scheduler/request.h"

namespace parrot {

// Numbered as in parrot.v1.Role. A number that no name has (an unknown enum value of a newer
// client) is legal here, and refused by the Validator.
enum class RoleSpec : int32_t { kUnspecified = 0, kSystem = 1, kUser = 2, kAssistant = 3 };

// Numbered as in parrot.v1.ImagePlacement; unknown numbers as above.
enum class PlacementSpec : int32_t { kUnspecified = 0, kCanonical = 1, kLiteral = 2 };

// Numbered as in parrot.v1.RoutingMode; unknown numbers as above.
enum class RoutingSpec : int32_t { kUnspecified = 0, kExact = 1, kPinFirstTurn = 2, kWeights = 3 };

struct ImageSpec {
  enum class Source { kNone, kBytes, kDigest, kDataUri };
  Source source = Source::kNone;
  std::string data;  // the encoded file, the 32 digest bytes, or the whole URI
  std::optional<std::string> mime_type;
  std::vector<float> expert_weights;  // empty: routed as GenerateSpec::routing says
  // kDigest, of an admitted request: what the digest stands for (ImageIntake::Resolve). Keeps it
  // whatever becomes of the store.
  ImageInput kept = {};
};

struct TextSpec {
  std::string text;  // bytes; perhaps not UTF-8 yet
};

// monostate: the client sent a part that is neither.
using PartSpec = std::variant<std::monostate, TextSpec, ImageSpec>;

struct MessageSpec {
  RoleSpec role = RoleSpec::kUnspecified;
  std::vector<PartSpec> parts;
};

// Numbered as in parrot.v1.LockMode; unknown numbers as above.
enum class LockModeSpec : int32_t { kUnspecified = 0, kSoft = 1, kHard = 2 };

struct LanguageLockSpec {
  std::optional<std::string> language;
  std::optional<LockModeSpec> mode;
  std::optional<float> bias;
  bool operator==(const LanguageLockSpec&) const = default;
};

struct SamplingSpec {
  std::optional<float> temperature;
  std::optional<int32_t> top_k;
  std::optional<float> top_p;
  std::optional<float> min_p;
  std::optional<uint64_t> seed;
  std::optional<float> repetition_penalty;
  std::optional<float> presence_penalty;
  std::optional<float> frequency_penalty;
  std::vector<std::pair<uint32_t, float>> logit_bias;
  std::optional<LanguageLockSpec> language_lock;
  bool operator==(const SamplingSpec&) const = default;
};

struct StopSpec {
  std::optional<int32_t> max_tokens;
  std::optional<int32_t> min_tokens;
  std::vector<int32_t> stop_token_ids;
  std::vector<std::string> stop;
  std::optional<bool> ignore_eos;
  std::optional<bool> include_stop;
  bool operator==(const StopSpec&) const = default;
};

struct OutputSpec {
  std::optional<int32_t> logprobs;
  std::optional<int32_t> prompt_logprobs;
};

struct GenerateSpec {
  RequestKind kind = RequestKind::kGenerate;
  std::optional<std::string> model;  // absent: the first served name
  std::vector<MessageSpec> messages;
  std::optional<std::string> generation_prefix;
  std::optional<PlacementSpec> placement;
  std::optional<RoutingSpec> routing;
  SamplingSpec sampling;
  StopSpec stop;
  OutputSpec output;
  std::optional<int32_t> n;
  std::optional<int32_t> priority;
  std::optional<int64_t> timeout_ms;
  std::optional<std::string> language;
  std::optional<std::string> request_id;         // from the message
  std::optional<std::string> header_request_id;  // from x-request-id; must not differ
  std::vector<std::string> choices;
  std::optional<std::string> json_schema;

  // When the call arrived; InfinitePast: Frontend::Submit takes the time itself.
  absl::Time arrival = absl::InfinitePast();
  // The transport's deadline; InfiniteFuture: none, the server's default holds.
  absl::Time deadline = absl::InfiniteFuture();
};

}  // namespace parrot

#endif  // PARROT_SERVER_FRONTEND_GENERATE_SPEC_H_
