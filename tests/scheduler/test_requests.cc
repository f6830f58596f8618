#include "tests/scheduler/test_requests.h"

#include <algorithm>
#include <string>
#include <variant>

#include "base/check.h"
#include "base/hash.h"
#include "tests/fakes/fake_model_state.h"

namespace parrot {

ExecutorCapacity SmallCapacity() {
  ExecutorCapacity capacity;
  capacity.num_blocks = 16;
  capacity.block_size = 4;
  capacity.max_slots = 4;
  capacity.max_step_tokens = 16;
  capacity.max_step_images = 2;
  capacity.max_steps_in_flight = 1;
  capacity.image_tokens = kTestImageTokens;
  capacity.num_experts = kTestExperts;
  capacity.num_vision_layers = 2;
  return capacity;
}

ImageInput TestImage(int id) {
  ImageInput image;
  image.hash = Sha256Of("image " + std::to_string(id));
  image.size = 1;
  image.pixels = std::make_shared<const ImagePixels>(3, static_cast<uint8_t>(id));
  return image;
}

RequestBuilder::RequestBuilder(RequestKey key) : content_(key) {
  request_.key = key;
  request_.max_tokens = 1;
  request_.sampling.seed = key;
  request_.arrival = absl::FromUnixSeconds(1'000'000'000);
}

RequestBuilder& RequestBuilder::Content(uint64_t content) {
  content_ = content;
  return *this;
}

RequestBuilder& RequestBuilder::Text(int32_t count) {
  for (int32_t i = 0; i < count; ++i) {
    const auto position = static_cast<int64_t>(request_.token_ids.size());
    const auto token =
        static_cast<TokenId>((static_cast<int64_t>(content_) * 31 + position * 7) % kTestVocabSize);
    request_.token_ids.push_back(token);
    request_.text_ids.push_back(token);
  }
  return *this;
}

RequestBuilder& RequestBuilder::Image(int id, RoutingSource routing) {
  PlacedImage placed;
  placed.image = TestImage(id);
  placed.position = request_.num_prompt_tokens();
  placed.num_tokens = kTestImageTokens;
  placed.routing = routing;
  if (routing == RoutingSource::kWeights) placed.weights.assign(kTestExperts, 1.0f / kTestExperts);
  request_.token_ids.insert(request_.token_ids.end(), kTestImageTokens, kVisualToken);
  request_.images.push_back(std::move(placed));
  return *this;
}

RequestBuilder& RequestBuilder::Approximate() {
  request_.exact_text_ids = request_.text_ids;
  request_.exact_text_ids.push_back(1);
  return *this;
}

RequestBuilder& RequestBuilder::MaxTokens(int32_t max_tokens) {
  request_.max_tokens = max_tokens;
  return *this;
}

RequestBuilder& RequestBuilder::MinTokens(int32_t min_tokens) {
  request_.min_tokens = min_tokens;
  return *this;
}

RequestBuilder& RequestBuilder::StopToken(TokenId token) {
  request_.stop_token_ids.push_back(token);
  std::sort(request_.stop_token_ids.begin(), request_.stop_token_ids.end());
  return *this;
}

RequestBuilder& RequestBuilder::Route() {
  request_.kind = RequestKind::kRoute;
  request_.max_tokens = 0;
  return *this;
}

RequestBuilder& RequestBuilder::Arrival(absl::Time arrival) {
  request_.arrival = arrival;
  return *this;
}

RequestBuilder& RequestBuilder::Deadline(absl::Time deadline) {
  request_.deadline = deadline;
  return *this;
}

RequestBuilder& RequestBuilder::NumSequences(int32_t count) {
  request_.num_sequences = count;
  return *this;
}

RequestBuilder& RequestBuilder::Tenant(std::string tenant) {
  request_.tenant = std::move(tenant);
  return *this;
}

RequestBuilder& RequestBuilder::Priority(int32_t priority) {
  request_.priority = priority;
  return *this;
}

RequestBuilder& RequestBuilder::UsePrefixCache(bool use) {
  request_.use_prefix_cache = use;
  return *this;
}

RequestBuilder& RequestBuilder::Logprobs(int32_t count) {
  request_.sampling.num_logprobs = count;
  return *this;
}

RequestBuilder& RequestBuilder::PromptLogprobs(int32_t count) {
  request_.sampling.num_prompt_logprobs = count;
  return *this;
}

std::shared_ptr<const Request> RequestBuilder::Build() const {
  return std::make_shared<const Request>(request_);
}

// What each position of the prompt leaves in the fake cache.
static std::vector<uint64_t> PromptContents(const Request& request) {
  std::vector<uint64_t> visuals;
  for (const PlacedImage& image : request.images) {
    const bool reads_text = image.routing == RoutingSource::kText;
    visuals.push_back(VisualFingerprint(image.image.hash,
                                        image.routing,
                                        reads_text ? request.text_ids : std::vector<TokenId>(),
                                        image.weights));
  }
  std::vector<uint64_t> contents;
  size_t image_idx = 0;
  for (int32_t p = 0; p < request.num_prompt_tokens(); ++p) {
    if (request.token_ids[p] != kVisualToken) {
      contents.push_back(TokenContent(p, request.token_ids[p]));
      continue;
    }
    while (p >= request.images[image_idx].position + request.images[image_idx].num_tokens) {
      ++image_idx;
    }
    const int32_t row = p - request.images[image_idx].position;
    contents.push_back(VisualContent(p, row, visuals[image_idx]));
  }
  return contents;
}

std::map<int32_t, float> ExpectedPromptLogprobs(const Request& request) {
  std::map<int32_t, float> logprobs;
  if (request.sampling.num_prompt_logprobs < 0) return logprobs;
  const std::vector<uint64_t> contents = PromptContents(request);
  for (int32_t p = 1; p < request.num_prompt_tokens(); ++p) {
    if (request.token_ids[p] == kVisualToken) continue;
    auto hash = static_cast<uint64_t>(request.token_ids[p]);
    for (int32_t before = 0; before < p; ++before) hash = FoldContent(hash, contents[before]);
    logprobs[p] = LogprobOfHash(hash);
  }
  return logprobs;
}

std::vector<TokenId> ExpectedTokens(const Request& request, int32_t vocab_size) {
  uint64_t hash = request.sampling.seed;
  for (const uint64_t content : PromptContents(request)) hash = FoldContent(hash, content);
  std::vector<TokenId> tokens;
  while (static_cast<int32_t>(tokens.size()) < request.max_tokens) {
    const TokenId token = TokenOfHash(hash, vocab_size);
    const auto num_tokens = static_cast<int32_t>(tokens.size());
    if (num_tokens >= request.min_tokens &&
        std::binary_search(request.stop_token_ids.begin(), request.stop_token_ids.end(), token)) {
      break;
    }
    tokens.push_back(token);
    hash = FoldContent(hash, TokenContent(request.num_prompt_tokens() + num_tokens, token));
  }
  return tokens;
}

void RecordingSink::OnEvents(std::vector<EngineEvent>& events) {
  for (EngineEvent& event : events) events_.push_back(std::move(event));
}

std::vector<TokenId> RecordingSink::Tokens(RequestKey key) const {
  std::vector<TokenId> tokens;
  for (const EngineEvent& event : events_) {
    const auto* token = std::get_if<TokenEvent>(&event);
    if (token != nullptr && token->key == key) tokens.push_back(token->token);
  }
  return tokens;
}

std::vector<TokenId> RecordingSink::Tokens(RequestKey key, int32_t sequence_idx) const {
  std::vector<TokenId> tokens;
  for (const EngineEvent& event : events_) {
    const auto* token = std::get_if<TokenEvent>(&event);
    if (token == nullptr || token->key != key || token->sequence_idx != sequence_idx) continue;
    tokens.push_back(token->token);
  }
  return tokens;
}

std::vector<PromptLogprobEvent> RecordingSink::PromptLogprobs(RequestKey key) const {
  std::vector<PromptLogprobEvent> logprobs;
  for (const EngineEvent& event : events_) {
    const auto* logprob = std::get_if<PromptLogprobEvent>(&event);
    if (logprob != nullptr && logprob->key == key) logprobs.push_back(*logprob);
  }
  return logprobs;
}

std::vector<RoutingEvent> RecordingSink::Routings(RequestKey key) const {
  std::vector<RoutingEvent> routings;
  for (const EngineEvent& event : events_) {
    const auto* routing = std::get_if<RoutingEvent>(&event);
    if (routing != nullptr && routing->key == key) routings.push_back(*routing);
  }
  return routings;
}

std::vector<FinishEvent> RecordingSink::Finishes(RequestKey key) const {
  std::vector<FinishEvent> finishes;
  for (const EngineEvent& event : events_) {
    const auto* finish = std::get_if<FinishEvent>(&event);
    if (finish != nullptr && finish->key == key) finishes.push_back(*finish);
  }
  return finishes;
}

FinishEvent RecordingSink::Finish(RequestKey key) const {
  const std::vector<FinishEvent> finishes = Finishes(key);
  PARROT_CHECK(finishes.size() == 1) << finishes.size() << " finish events of request " << key;
  return finishes.front();
}

int RecordingSink::num_finished() const {
  return static_cast<int>(std::count_if(events_.begin(), events_.end(), [](const auto& event) {
    return std::holds_alternative<FinishEvent>(event);
  }));
}

}  // namespace parrot
