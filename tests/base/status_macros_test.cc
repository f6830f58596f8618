#include "base/status_macros.h"

#include <memory>

#include "gtest/gtest.h"

namespace parrot {
namespace {

absl::StatusOr<std::unique_ptr<int>> Make(int value) {
  if (value < 0) return absl::InvalidArgumentError("negative");
  return std::make_unique<int>(value);
}

absl::Status AddInto(int a, int b, int* sum) {
  ASSIGN_OR_RETURN(const std::unique_ptr<int> first, Make(a));
  ASSIGN_OR_RETURN(const std::unique_ptr<int> second, Make(b));
  *sum = *first + *second;
  return absl::OkStatus();
}

absl::Status Twice(int value, int* sum) {
  RETURN_IF_ERROR(AddInto(value, value, sum));
  *sum += 1;
  return absl::OkStatus();
}

TEST(StatusMacrosTest, PassValuesAndReturnTheFirstError) {
  int sum = 0;
  EXPECT_TRUE(Twice(2, &sum).ok());
  EXPECT_EQ(sum, 5);
  EXPECT_EQ(Twice(-1, &sum).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(sum, 5);
}

}  // namespace
}  // namespace parrot
