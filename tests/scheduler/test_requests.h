// Requests as the scheduler's tests need them, and what the fake executor answers to each.
#ifndef PARROT_TESTS_SCHEDULER_TEST_REQUESTS_H_
#define PARROT_TESTS_SCHEDULER_TEST_REQUESTS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "model/api/image_input.h"
#include "model/api/model_executor.h"
#include "scheduler/event.h"
#include "scheduler/request.h"
#include "tests/fakes/fake_model_executor.h"

namespace parrot {

inline constexpr int32_t kTestVocabSize = 1000;
inline constexpr int32_t kTestImageTokens = 5;
inline constexpr int32_t kTestExperts = 3;

// A small worker: 16 blocks of 4 tokens, 4 slots, 16 tokens and 2 images per step, 1 step in
// flight.
ExecutorCapacity SmallCapacity();

// A picture that is told from others by `id`.
ImageInput TestImage(int id);

// Builds a prompt part by part.
//   RequestBuilder(7).Text(10).Image(1).Text(3).MaxTokens(4).Build()
class RequestBuilder {
 public:
  explicit RequestBuilder(RequestKey key);
  // Of the texts to come; default: the key. Requests of the same content share prefixes.
  RequestBuilder& Content(uint64_t content);
  // `count` text tokens that depend on content and position.
  RequestBuilder& Text(int32_t count);
  RequestBuilder& Image(int id, RoutingSource routing = RoutingSource::kText);
  // What the router reads is an approximation of the whole text.
  RequestBuilder& Approximate();
  RequestBuilder& MaxTokens(int32_t max_tokens);
  RequestBuilder& MinTokens(int32_t min_tokens);
  RequestBuilder& StopToken(TokenId token);
  RequestBuilder& Route();
  RequestBuilder& Arrival(absl::Time arrival);
  RequestBuilder& Deadline(absl::Time deadline);
  RequestBuilder& NumSequences(int32_t count);
  RequestBuilder& Tenant(std::string tenant);
  RequestBuilder& Priority(int32_t priority);
  RequestBuilder& UsePrefixCache(bool use);
  RequestBuilder& Logprobs(int32_t count);
  RequestBuilder& PromptLogprobs(int32_t count);
  std::shared_ptr<const Request> Build() const;

 private:
  Request request_;
  uint64_t content_;
};

// What the fake executor generates for the request when nothing ends it early but its stop tokens
// and max_tokens; a stop token is not part of it.
std::vector<TokenId> ExpectedTokens(const Request& request, int32_t vocab_size = kTestVocabSize);

// The log-probabilities of the prompt that the fake executor gives the request, by position.
std::map<int32_t, float> ExpectedPromptLogprobs(const Request& request);

// Collects what an engine reports. Confined to the engine thread, or read after it has stopped.
class RecordingSink final : public EventSink {
 public:
  void OnEvents(std::vector<EngineEvent>& events) override;

  // Of one of its sequences, or of all in the order of events.
  std::vector<TokenId> Tokens(RequestKey key) const;
  std::vector<TokenId> Tokens(RequestKey key, int32_t sequence_idx) const;
  std::vector<RoutingEvent> Routings(RequestKey key) const;
  std::vector<PromptLogprobEvent> PromptLogprobs(RequestKey key) const;
  // The events of kind FinishEvent; one per request when all is well.
  std::vector<FinishEvent> Finishes(RequestKey key) const;
  // REQUIRES: the request has finished.
  FinishEvent Finish(RequestKey key) const;
  int num_finished() const;
  const std::vector<EngineEvent>& events() const { return events_; }

 private:
  std::vector<EngineEvent> events_;
};

}  // namespace parrot

#endif  // PARROT_TESTS_SCHEDULER_TEST_REQUESTS_H_
