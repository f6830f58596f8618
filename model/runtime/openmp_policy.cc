#include "model/runtime/openmp_policy.h"

#include <stdlib.h>
#include <unistd.h>

namespace parrot {

void UseSleepingOpenMpThreads(char** argv) {
  constexpr char kVariable[] = "OMP_WAIT_POLICY";
  if (getenv(kVariable) != nullptr) return;
  if (setenv(kVariable, "PASSIVE", /*overwrite=*/0) != 0) return;
  execv("/proc/self/exe", argv);  // returns on failure only
}

}  // namespace parrot
