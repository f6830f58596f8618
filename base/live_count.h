// LiveCount: how many objects of a kind live in the process, for tests that nothing is left behind.
// A class that is counted has a member; copies count as well.
//
//   class Call { ... LiveCount<LiveKind::kCall> live_count_; };
//   EXPECT_EQ(NumLive(LiveKind::kCall), 0);
//
// Always compiled: one relaxed addition at the birth of an object and one at its end. Thread-safe;
// the number is exact once whoever makes and drops objects has been waited for.
#ifndef PARROT_BASE_LIVE_COUNT_H_
#define PARROT_BASE_LIVE_COUNT_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace parrot {

enum class LiveKind { kRequest, kSequence, kCall, kResponseStream, kImagePixels };
inline constexpr std::array<const char*, 5> kLiveKindNames = {
    "requests", "sequences", "calls", "response streams", "preprocessed images"};

namespace internal {
// The one piece of state of the process that is nobody's: counting is for all or for none.
inline std::array<std::atomic<int64_t>, kLiveKindNames.size()> live_counts{};
}  // namespace internal

inline int64_t NumLive(LiveKind kind) {
  return internal::live_counts[static_cast<size_t>(kind)].load(std::memory_order_relaxed);
}

template <LiveKind kKind>
class LiveCount {
 public:
  LiveCount() { Add(1); }
  LiveCount(const LiveCount& /*other*/) { Add(1); }
  LiveCount& operator=(const LiveCount& /*other*/) = default;
  ~LiveCount() { Add(-1); }

 private:
  static void Add(int64_t count) {
    internal::live_counts[static_cast<size_t>(kKind)].fetch_add(count, std::memory_order_relaxed);
  }
};

}  // namespace parrot

#endif  // PARROT_BASE_LIVE_COUNT_H_
