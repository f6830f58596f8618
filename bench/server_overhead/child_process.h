// A process of its own for a part of a measurement, so that its CPU time and memory are its own:
// the server apart from its clients, and each measurement from a fresh heap.
//
// Child forks; REQUIRES that the process has no other thread and has not used gRPC yet. Both sides
// talk in JSON values, one a line. Whatever goes wrong between them ends the program with a
// message: half a measurement is none.
#ifndef PARROT_BENCH_SERVER_OVERHEAD_CHILD_PROCESS_H_
#define PARROT_BENCH_SERVER_OVERHEAD_CHILD_PROCESS_H_

#include <sys/types.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

namespace parrot {

// One end of the connection. Owns its descriptor; not thread-safe.
class Peer {
 public:
  explicit Peer(int descriptor) : descriptor_(descriptor) {}
  ~Peer();
  Peer(Peer&& other) noexcept : descriptor_(other.descriptor_) { other.descriptor_ = -1; }
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  void Send(const nlohmann::ordered_json& value);
  nlohmann::ordered_json Receive();  // waits

 private:
  int descriptor_;
  std::string received_;
};

class Child {
 public:
  // Runs `main` in the child, which exits when it returns.
  explicit Child(const std::function<void(Peer& parent)>& main);
  // Waits for the child's end.
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  Peer& peer() { return peer_; }

 private:
  struct Forked {
    pid_t pid;
    int descriptor;
  };
  static Forked Fork(const std::function<void(Peer& parent)>& main);
  explicit Child(Forked forked) : pid_(forked.pid), peer_(forked.descriptor) {}

  const pid_t pid_;
  Peer peer_;
};

}  // namespace parrot

#endif  // PARROT_BENCH_SERVER_OVERHEAD_CHILD_PROCESS_H_
