// PARROT_CHECK: for bugs only. Nothing that a client, file, device or peer can cause may reach one;
// those return absl::Status. (Abseil 20220623 has no absl/log, and torch defines bare CHECK.)
//
//   PARROT_CHECK(block_id < num_blocks_) << "block " << block_id;   // aborts the process
#ifndef PARROT_BASE_CHECK_H_
#define PARROT_BASE_CHECK_H_

#include <sstream>

namespace parrot::internal {

// Collects the message; prints it and aborts at the end of the full expression.
class CheckFailure {
 public:
  CheckFailure(const char* file, int line, const char* condition);
  [[noreturn]] ~CheckFailure();
  std::ostream& stream() { return stream_; }

 private:
  std::ostringstream stream_;
};

// Gives both branches of PARROT_CHECK the type void.
struct Voidify {
  void operator&(std::ostream&) {}
};

}  // namespace parrot::internal

// The caller streams its message into the macro, so it cannot be wrapped in parentheses.
// NOLINTBEGIN(bugprone-macro-parentheses)
#define PARROT_CHECK(condition)                 \
  (condition) ? static_cast<void>(0)            \
              : ::parrot::internal::Voidify() & \
                    ::parrot::internal::CheckFailure(__FILE__, __LINE__, #condition).stream()
// NOLINTEND(bugprone-macro-parentheses)

#ifdef NDEBUG
#define PARROT_DCHECK(condition) PARROT_CHECK(true || (condition))
#else
#define PARROT_DCHECK(condition) PARROT_CHECK(condition)
#endif

#endif  // PARROT_BASE_CHECK_H_
