// From parrot.v1 messages to the front end's GenerateSpec. A translation only: nothing is judged
// here, absent stays absent, numbers of unknown enum values stay as they are. Bytes are moved out
// of the message, so it is spent afterwards. Thread-safe (pure functions).
#ifndef PARROT_SERVER_GRPC_REQUEST_CONVERSION_H_
#define PARROT_SERVER_GRPC_REQUEST_CONVERSION_H_

#include "parrot/v1/generation.pb.h"
#include "server/frontend/generate_spec.h"
#include "server/frontend/image_uploads.h"

namespace parrot {

GenerateSpec SpecFromGenerate(v1::GenerateRequest& request);
GenerateSpec SpecFromRoute(v1::RouteRequest& request);
GenerateSpec SpecFromCountTokens(v1::CountTokensRequest& request);
// The times are the caller's to add.
PutImageSpec SpecFromPutImage(v1::PutImageRequest& request);

}  // namespace parrot

#endif  // PARROT_SERVER_GRPC_REQUEST_CONVERSION_H_
