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

void TakeEvent(const v1::GenerateResponse& event,
               const AnswerCallbacks& callbacks,
               Answer* answer) {
  if (event.has_accepted()) {
    answer->model = event.accepted().model();
    if (callbacks.on_accepted) callbacks.on_accepted(event.accepted());
  } else if (event.has_delta()) {
    const v1::Delta& delta = event.delta();
    TakeRouting(delta.routing(), callbacks, answer);
    answer->text += delta.text();
    answer->token_ids.insert(
        answer->token_ids.end(), delta.token_ids().begin(), delta.token_ids().end());
    if (callbacks.on_text && !delta.text().empty()) callbacks.on_text(delta.text());
  } else if (event.has_finish()) {
    answer->finish = event.finish();
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
