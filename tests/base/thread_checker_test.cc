#include "base/thread_checker.h"

#include <thread>

#include "gtest/gtest.h"

namespace parrot {
namespace {

TEST(ThreadCheckerTest, BindsToTheFirstCallerUntilDetached) {
  ThreadChecker checker;
  EXPECT_TRUE(checker.CalledOnValidThread());
  bool valid_elsewhere = true;
  std::thread([&] { valid_elsewhere = checker.CalledOnValidThread(); }).join();
  EXPECT_FALSE(valid_elsewhere);
  EXPECT_TRUE(checker.CalledOnValidThread());
  checker.Detach();
  std::thread([&] { valid_elsewhere = checker.CalledOnValidThread(); }).join();
  EXPECT_TRUE(valid_elsewhere);
  EXPECT_FALSE(checker.CalledOnValidThread());
}

}  // namespace
}  // namespace parrot
