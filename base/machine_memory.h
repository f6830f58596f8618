// How much memory this process may use. Thread-safe.
#ifndef PARROT_BASE_MACHINE_MEMORY_H_
#define PARROT_BASE_MACHINE_MEMORY_H_

#include <cstdint>

namespace parrot {

// The machine's memory or its cgroup's limit, in bytes: whichever is less.
int64_t UsableMemoryBytes();

}  // namespace parrot

#endif  // PARROT_BASE_MACHINE_MEMORY_H_
