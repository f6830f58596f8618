#include "model/kernels/worker_pool.h"

#include <emmintrin.h>
#include <sched.h>

#include <algorithm>
#include <fstream>
#include <string>

namespace parrot::kernels {
namespace {

constexpr uint64_t kEpoch = uint64_t{1} << 32;
constexpr uint64_t kWorkers = kEpoch - 1;
// Some tens of microseconds: as long as the host needs between two operations of a step.
constexpr int kSpins = 1000;

bool IsOpen(uint64_t state) { return ((state >> 32) & 1) != 0; }

// Cores that the cgroup's quota allows, rounded up; a large number without one.
int QuotaCores() {
  constexpr int kUnlimited = 1 << 20;
  const auto cores = [](double quota, double period) {
    return quota <= 0 || period <= 0 ? kUnlimited
                                     : std::max(1, static_cast<int>((quota + period - 1) / period));
  };
  std::string quota;
  double period = 0;
  if (std::ifstream v2("/sys/fs/cgroup/cpu.max"); v2 >> quota >> period) {
    return quota == "max" ? kUnlimited : cores(std::strtod(quota.c_str(), nullptr), period);
  }
  double us = 0;
  std::ifstream v1_quota("/sys/fs/cgroup/cpu/cpu.cfs_quota_us");
  std::ifstream v1_period("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  return v1_quota >> us && v1_period >> period ? cores(us, period) : kUnlimited;
}

}  // namespace

int DefaultNumThreads() {
  cpu_set_t set;
  CPU_ZERO(&set);
  const int allowed = sched_getaffinity(0, sizeof(set), &set) == 0
                          ? CPU_COUNT(&set)
                          : static_cast<int>(std::thread::hardware_concurrency());
  return std::max(1, std::min(allowed, QuotaCores()));
}

WorkerPool::WorkerPool(int num_threads) {
  threads_.reserve(num_threads - 1);
  for (int thread = 1; thread < num_threads; ++thread) {
    threads_.emplace_back([this, thread] { WorkerLoop(thread); });
  }
}

WorkerPool::~WorkerPool() {
  stopping_ = true;
  ++opened_;
  opened_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void WorkerPool::Claim(const Job& job, int thread) {
  for (int64_t i = next_.fetch_add(1); i < job.count; i = next_.fetch_add(1)) {
    job.call(job.self, i, thread);
  }
}

void WorkerPool::RunJob(const Job& job) {
  if (threads_.empty() || job.count <= 1) {
    for (int64_t i = 0; i < job.count; ++i) job.call(job.self, i, 0);
    return;
  }
  job_ = job;
  next_ = 0;
  state_ += kEpoch;  // open
  ++opened_;
  opened_.notify_all();
  Claim(job, 0);
  state_ += kEpoch;  // closed: nobody joins any more
  for (int i = 0; i < kSpins; ++i) {
    if ((state_ & kWorkers) == 0) return;
    _mm_pause();
  }
  for (;;) {
    const uint32_t seen = finished_;
    if ((state_ & kWorkers) == 0) return;
    finished_.wait(seen);
  }
}

bool WorkerPool::Join(uint64_t* joined) {
  uint64_t state = state_;
  while (IsOpen(state) && state >> 32 != *joined) {
    if (state_.compare_exchange_weak(state, state + 1)) {
      *joined = state >> 32;
      return true;
    }
  }
  return false;
}

void WorkerPool::WorkerLoop(int thread) {
  uint64_t joined = 0;  // the epoch of the last job: each is joined once
  int idle = 0;
  while (!stopping_) {
    const uint32_t opened = opened_;
    if (Join(&joined)) {
      Claim(job_, thread);
      // The last one out of a closed job tells the owner.
      const uint64_t state = --state_;
      if ((state & kWorkers) == 0 && !IsOpen(state)) {
        ++finished_;
        finished_.notify_one();
      }
      idle = 0;
    } else if (++idle < kSpins) {
      _mm_pause();
    } else {
      opened_.wait(opened);
      idle = 0;
    }
  }
}

}  // namespace parrot::kernels
