// CoreHolder: another process that computes on one core without pause, for as long as the object
// lives: a neighbour, as a server has them. Confined to one thread.
#ifndef PARROT_BENCH_ENGINE_CORE_HOLDER_H_
#define PARROT_BENCH_ENGINE_CORE_HOLDER_H_

#include <sys/types.h>

#include <ctime>

namespace parrot {

class CoreHolder {
 public:
  // On the first core that this process may use.
  CoreHolder();
  ~CoreHolder();
  CoreHolder(const CoreHolder&) = delete;
  CoreHolder& operator=(const CoreHolder&) = delete;

  // False when there is no such process.
  bool runs() const { return process_ > 0; }
  // Of a core, that it got so far.
  double CpuSeconds() const;

 private:
  pid_t process_ = -1;
  clockid_t clock_ = CLOCK_MONOTONIC;
};

}  // namespace parrot

#endif  // PARROT_BENCH_ENGINE_CORE_HOLDER_H_
