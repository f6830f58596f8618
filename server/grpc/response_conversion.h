// From the front end's answers to parrot.v1 messages. Thread-safe (pure functions).
#ifndef PARROT_SERVER_GRPC_RESPONSE_CONVERSION_H_
#define PARROT_SERVER_GRPC_RESPONSE_CONVERSION_H_

#include <cstdint>
#include <vector>

#include "google/protobuf/repeated_ptr_field.h"
#include "parrot/v1/generation.pb.h"
#include "server/frontend/answer.h"
#include "server/frontend/frontend.h"

namespace parrot {

// Grows with the meaning of fields, not with their number (GetModelInfoResponse.schema_revision).
inline constexpr int32_t kSchemaRevision = 1;

// Each adds one event of the stream to an empty message. Texts are moved out of the event.
void FillAccepted(AcceptedEvent& event, v1::GenerateResponse& response);
void FillDelta(DeltaEvent& event, v1::GenerateResponse& response);
void FillFinish(const OutputFinishedEvent& event, v1::Finish& finish);

void FillLogprobs(std::vector<TokenLogprobs>& logprobs,
                  google::protobuf::RepeatedPtrField<v1::TokenLogprobs>& out);
void FillPromptLogprobs(std::vector<PromptTokenLogprobs>& logprobs,
                        google::protobuf::RepeatedPtrField<v1::PromptTokenLogprobs>& out);
void FillUsage(const Usage& usage, v1::Usage& out);
void FillTimings(const AnswerTimings& timings, v1::Timings& out);
void FillRouting(const std::vector<ImageRouting>& routing,
                 google::protobuf::RepeatedPtrField<v1::ImageRouting>& out);
void FillPutImage(const PutImageResult& result, v1::PutImageResponse& out);
void FillModelInfo(const ModelInfo& info, v1::GetModelInfoResponse& out);

}  // namespace parrot

#endif  // PARROT_SERVER_GRPC_RESPONSE_CONVERSION_H_
