// OpenMP's waiting threads. libgomp, which torch's CPU operations run on, lets threads spin at
// barriers by default; when anything else wants the cores (the gRPC threads of this very process, a
// neighbour), a spinning thread keeps the one it waits for from running: on two busy cores the
// reference backend was measured four times slower. The policy is read from the environment while
// the program's libraries are loaded, before main, so it can only be set by starting again.
#ifndef PARROT_MODEL_RUNTIME_OPENMP_POLICY_H_
#define PARROT_MODEL_RUNTIME_OPENMP_POLICY_H_

namespace parrot {

// First statement of a main that runs models: unless OMP_WAIT_POLICY is set already, sets it to
// PASSIVE and executes the same program again with the same arguments. Returns when nothing is left
// to do, or when executing failed (then threads spin). REQUIRES: no thread has been started.
void UseSleepingOpenMpThreads(char** argv);

}  // namespace parrot

#endif  // PARROT_MODEL_RUNTIME_OPENMP_POLICY_H_
