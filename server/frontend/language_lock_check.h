// The rules of SamplingSpec::language_lock. Pure functions.
#ifndef PARROT_SERVER_FRONTEND_LANGUAGE_LOCK_CHECK_H_
#define PARROT_SERVER_FRONTEND_LANGUAGE_LOCK_CHECK_H_

#include <string>

#include "absl/status/status.h"
#include "model/api/token_scripts.h"
#include "server/frontend/generate_spec.h"

namespace parrot {

// What a lock comes to: the script of its language, and the bias on everything else. `language` is
// the label of the language in metrics ("pt" of "pt-BR"). INVALID_ARGUMENT, with fields below
// language_lock: reason LOCK_LANGUAGE for a language that is not given or none of the model's,
// UNKNOWN_ENUM for the mode, OUT_OF_RANGE for the bias (it must be in (0, max_bias]),
// CONFLICTING_OPTIONS for a bias of a hard lock.
absl::Status CheckLanguageLock(const LanguageLockSpec& spec,
                               float max_bias,
                               LanguageLock* lock,
                               std::string* language);

}  // namespace parrot

#endif  // PARROT_SERVER_FRONTEND_LANGUAGE_LOCK_CHECK_H_
