// WorkerPool: the threads of one worker's kernels. A piece of work is a number of tasks that
// threads claim one after the other, so a thread that loses its core to somebody else holds up no
// more than the task it is in; one that has not woken up in time is not waited for.
//
// Idle threads look for work for some microseconds and then sleep: on a machine whose cores are
// shared with the gRPC threads (or a neighbour), a thread that spins keeps the one it waits for
// from running.
//
// Confined to the thread that owns it; tasks run on all of its threads at once.
#ifndef PARROT_MODEL_KERNELS_WORKER_POOL_H_
#define PARROT_MODEL_KERNELS_WORKER_POOL_H_

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace parrot::kernels {

// Cores that this process may use: its affinity mask and its cgroup's quota, whichever is less; at
// least 1.
int DefaultNumThreads();

class WorkerPool {
 public:
  // The owner is thread 0; starts num_threads - 1 others. REQUIRES: num_threads >= 1.
  explicit WorkerPool(int num_threads);
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  int num_threads() const { return static_cast<int>(threads_.size()) + 1; }

  // Runs task(i, thread) for every i in [0, count), thread in [0, num_threads()), and returns when
  // all are done. Tasks start in order; they must not throw and not call Run. Allocates nothing.
  template <typename Task>
  void Run(int64_t count, const Task& task) {
    RunJob({.call = [](const void* self,
                       int64_t i,
                       int thread) { (*static_cast<const Task*>(self))(i, thread); },
            .self = &task,
            .count = count});
  }

 private:
  struct Job {
    void (*call)(const void* self, int64_t i, int thread) = nullptr;
    const void* self = nullptr;
    int64_t count = 0;
  };

  void RunJob(const Job& job);
  void Claim(const Job& job, int thread);
  void WorkerLoop(int thread);
  bool Join(uint64_t* joined);

  // Epoch (upper half; odd while a job is open) and how many workers are in it (lower half).
  std::atomic<uint64_t> state_ = 0;
  std::atomic<int64_t> next_ = 0;
  std::atomic<uint32_t> opened_ = 0;    // counts jobs; sleepers wait for a change
  std::atomic<uint32_t> finished_ = 0;  // counts jobs that a worker was the last to leave
  std::atomic<bool> stopping_ = false;
  Job job_;  // written while no job is open and no worker in one
  std::vector<std::thread> threads_;
};

}  // namespace parrot::kernels

#endif  // PARROT_MODEL_KERNELS_WORKER_POOL_H_
