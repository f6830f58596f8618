#include "base/check.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace parrot::internal {

CheckFailure::CheckFailure(const char* file, int line, const char* condition) {
  const char* slash = std::strrchr(file, '/');
  stream_ << "CHECK failed at " << (slash != nullptr ? slash + 1 : file) << ":" << line << ": "
          << condition << " ";
}

CheckFailure::~CheckFailure() {
  std::fprintf(stderr, "%s\n", stream_.str().c_str());
  std::fflush(stderr);
  std::abort();
}

}  // namespace parrot::internal
