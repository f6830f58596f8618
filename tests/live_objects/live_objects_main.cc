// The main of tests whose objects all go: each test fails that leaves a request, a sequence, a
// call, a response stream or a preprocessed image behind (base/live_count.h).
#include <array>
#include <cstddef>
#include <cstdint>
#include <thread>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/live_count.h"
#include "gtest/gtest.h"

namespace parrot {
namespace {

// With threads of a library, which drop their last reference after the server has gone.
constexpr absl::Duration kPatience = absl::Seconds(10);

using Counts = std::array<int64_t, kLiveKindNames.size()>;

Counts CountAll() {
  Counts counts;
  for (size_t i = 0; i < counts.size(); ++i) counts[i] = NumLive(static_cast<LiveKind>(i));
  return counts;
}

class NothingIsLeft final : public testing::EmptyTestEventListener {
  void OnTestEnd(const testing::TestInfo& /*info*/) override {
    const absl::Time limit = absl::Now() + kPatience;
    while (CountAll() != left_ && absl::Now() < limit) std::this_thread::yield();
    const Counts counts = CountAll();
    for (size_t i = 0; i < counts.size(); ++i) {
      if (counts[i] != left_[i]) {
        ADD_FAILURE() << counts[i] - left_[i] << " " << kLiveKindNames[i] << " are left";
      }
    }
    left_ = counts;
  }

  Counts left_{};  // by the tests before, which have failed for it
};

}  // namespace
}  // namespace parrot

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  // Owned by the list.
  testing::UnitTest::GetInstance()->listeners().Append(new parrot::NothingIsLeft);
  return RUN_ALL_TESTS();
}
