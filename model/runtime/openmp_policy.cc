#include "model/runtime/openmp_policy.h"

#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

namespace parrot {

void UseSleepingOpenMpThreads(char** argv) {
  constexpr char kVariable[] = "OMP_WAIT_POLICY";
  if (getenv(kVariable) != nullptr) return;
  if (setenv(kVariable, "PASSIVE", /*overwrite=*/0) != 0) return;
  // The program's own path, so that ps and pkill know the process by its name.
  char path[PATH_MAX] = {};
  if (readlink("/proc/self/exe", path, sizeof(path) - 1) > 0) {
    execv(path, argv);  // returns on failure only
  }
}

}  // namespace parrot
