#include "client/cli/answer.h"

#include "client/call_status.h"

namespace parrot {
namespace {

void TakeRouting(const google::protobuf::RepeatedPtrField<v1::ImageRouting>& routing,
                 const AnswerCallbacks& callbacks,
                 Answer* answer) {
  if (routing.empty()) return;
  const bool first = answer->routing.empty();
  answer->routing.assign(routing.begin(), routing.end());
  if (first && callbacks.on_routing) callbacks.on_routing(answer->routing);
}

// Null for an index that no server should send.
AnswerOutput* OutputOf(int32_t index, Answer* answer) {
  constexpr int32_t kMostAnswers = 1 << 16;
  if (index == 0) return answer;
  if (index < 0 || index >= kMostAnswers) return nullptr;
  if (answer->others.size() < static_cast<size_t>(index)) answer->others.resize(index);
  return &answer->others[index - 1];
}

void TakeEvent(const v1::GenerateResponse& event,
               const AnswerCallbacks& callbacks,
               Answer* answer) {
  if (event.has_accepted()) {
    answer->model = event.accepted().model();
    answer->prompt_logprobs.assign(event.accepted().prompt_logprobs().begin(),
                                   event.accepted().prompt_logprobs().end());
    if (callbacks.on_accepted) callbacks.on_accepted(event.accepted());
  } else if (event.has_delta()) {
    const v1::Delta& delta = event.delta();
    TakeRouting(delta.routing(), callbacks, answer);
    AnswerOutput* output = OutputOf(delta.output_index(), answer);
    if (output == nullptr) return;
    output->text += delta.text();
    output->token_ids.insert(
        output->token_ids.end(), delta.token_ids().begin(), delta.token_ids().end());
    output->logprobs.insert(
        output->logprobs.end(), delta.logprobs().begin(), delta.logprobs().end());
    const bool shown = delta.output_index() == 0 && !delta.text().empty();
    if (callbacks.on_text && shown) callbacks.on_text(delta.text());
  } else if (event.has_finish()) {
    AnswerOutput* output = OutputOf(event.finish().output_index(), answer);
    if (output != nullptr) output->finish = event.finish();
    TakeRouting(event.finish().routing(), callbacks, answer);
  }
}

}  // namespace

Answer ReadAnswer(GenerateStream& stream, const AnswerCallbacks& callbacks) {
  Answer answer;
  v1::GenerateResponse event;
  while (stream.Next(&event)) TakeEvent(event, callbacks, &answer);
  answer.status = stream.Finish();
  answer.request_id = stream.request_id();
  if (answer.request_id.empty()) answer.request_id = GetRequestId(answer.status);
  return answer;
}

}  // namespace parrot
