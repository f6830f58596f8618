#include "bench/engine/core_holder.h"

#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace parrot {

CoreHolder::CoreHolder() {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) return;
  int core = 0;
  while (core < CPU_SETSIZE && !CPU_ISSET(core, &allowed)) ++core;
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(core, &one);
  const pid_t parent = getpid();
  process_ = fork();
  if (process_ == 0) {
    // Calls of the system alone: other threads of the parent may have held any lock.
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    sched_setaffinity(0, sizeof(one), &one);
    if (getppid() != parent) _exit(0);
    for (;;) asm volatile("");
  }
  if (process_ > 0 && clock_getcpuclockid(process_, &clock_) != 0) clock_ = CLOCK_MONOTONIC;
}

CoreHolder::~CoreHolder() {
  if (process_ <= 0) return;
  kill(process_, SIGKILL);
  waitpid(process_, nullptr, 0);
}

double CoreHolder::CpuSeconds() const {
  timespec time = {};
  clock_gettime(clock_, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

}  // namespace parrot
