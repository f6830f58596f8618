// Sizes and durations as people write them: "16k", "4GiB", "120s". Thread-safe (pure functions).
#ifndef PARROT_SERVER_OPTIONS_HUMAN_UNITS_H_
#define PARROT_SERVER_OPTIONS_HUMAN_UNITS_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace parrot {

// A count: digits, with a fraction if a unit follows, and at most one unit. Small letters are
// decimal, capitals binary, as vLLM reads them: k, m, g, t = 10^3, 10^6, 10^9, 10^12;
// K, M, G, T and Ki, Mi, Gi, Ti = 2^10, 2^20, 2^30, 2^40; a final B (bytes) changes decimal units
// only in spelling: kB, MB, GB, TB = 10^3 ...; KiB, MiB, GiB, TiB = 2^10 ... INVALID_ARGUMENT for
// anything else, negative numbers and what does not fit int64 included.
[[nodiscard]] absl::StatusOr<int64_t> ParseSize(const std::string& text);

// Shortest exact text that ParseSize reads back: "2GiB", "1024", "10MiB".
std::string FormatSize(int64_t bytes);

// "120s", "1m30s", "50ms", "2h"; a plain number is seconds. Finite and not negative.
[[nodiscard]] absl::StatusOr<absl::Duration> ParseHumanDuration(const std::string& text);

// Text that ParseHumanDuration reads back: whole seconds as "120s", else milliseconds as "50ms".
std::string FormatHumanDuration(absl::Duration duration);

}  // namespace parrot

#endif  // PARROT_SERVER_OPTIONS_HUMAN_UNITS_H_
