// Names of what a reply reports, as programs read them: lower case, never renamed. Stateless;
// thread-safe.
#ifndef PARROT_CLIENT_REPLY_NAMES_H_
#define PARROT_CLIENT_REPLY_NAMES_H_

#include <string>
#include <utility>
#include <vector>

#include "parrot/v1/generation.pb.h"

namespace parrot {

// "none", "features", "experts", "kv".
const char* CacheLevelName(v1::CacheLevel level);

// "stop", "length", ..., "unspecified".
std::string FinishReasonName(v1::FinishReason reason);

// Every stage with its seconds, in the order of the API.
std::vector<std::pair<const char*, double>> StageSeconds(const v1::Timings& timings);

}  // namespace parrot

#endif  // PARROT_CLIENT_REPLY_NAMES_H_
