// Texts for benchmarks in the model's six languages: common words in random order. They mean
// nothing, but take the tokens that the language takes. Stateless; thread-safe.
#ifndef PARROT_CLIENT_BENCH_SYNTHETIC_TEXT_H_
#define PARROT_CLIENT_BENCH_SYNTHETIC_TEXT_H_

#include <cstdint>
#include <random>
#include <string>
#include <string_view>

namespace parrot {

// "en", "zh", "pt", "ar", "tr", "ru".
bool IsSyntheticLanguage(std::string_view language);

// REQUIRES: IsSyntheticLanguage(language).
std::string SyntheticText(std::string_view language, int64_t num_words, std::mt19937_64& random);

}  // namespace parrot

#endif  // PARROT_CLIENT_BENCH_SYNTHETIC_TEXT_H_
