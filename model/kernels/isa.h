// Which instruction set the kernels use. Found once, at the start; one binary serves all machines:
// only the sources of one instruction set are compiled with its flags, and their functions are
// reached through tables chosen by an Isa.
//
// The emulated ones compute the same lanes in plain C++, so that every kernel's indexing is tested
// on every machine. They round exactly as the hardware does where both use the same operations.
// Thread-safe.
#ifndef PARROT_MODEL_KERNELS_ISA_H_
#define PARROT_MODEL_KERNELS_ISA_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace parrot::kernels {

enum class Isa {
  kEmulatedAvx2,
  kEmulatedAvx512,
  kEmulatedAvx512Bf16,
  kEmulatedAmx,
  kAvx2,        // AVX2, FMA, F16C
  kAvx512,      // AVX-512 F, BW, DQ, VL
  kAvx512Bf16,  // and BF16: products of bf16 pairs (vdpbf16ps)
  kAmx,         // and tiles with bf16 and int8 (tdpbf16ps), permitted by the operating system
};

// "avx2", "avx512", "avx512_bf16", "amx"; "emulated-avx2" and so on.
std::string_view IsaName(Isa isa);
// The inverse for those that a user may name; nullopt otherwise.
std::optional<Isa> ParseIsa(std::string_view name);

// What this machine truly runs, lowest first: CPUID, the register state that the system saves
// (XCR0), and for AMX the permission of the kernel, which is asked for. Empty without AVX2.
std::vector<Isa> NativeIsas();
// The fastest of NativeIsas; nullopt when there is none. That is the last one, but kAvx512Bf16 only
// on AMD's processors, whose vdpbf16ps does two products in the time of one FMA (Zen 4: 2.0 times
// the FMA peak). On Intel's it takes four times as long as an FMA, so FMA is faster.
std::optional<Isa> BestIsa();
// The native ones and all emulated ones: what tests run over.
std::vector<Isa> AllIsas();

// An instruction beside the sets above: dot products of int8 quadruples.
bool HasAvx512Vnni();

constexpr bool IsEmulated(Isa isa) { return isa <= Isa::kEmulatedAmx; }
// The one that computes the lanes of a native one.
constexpr Isa EmulatedOf(Isa native) {
  return static_cast<Isa>(static_cast<int>(native) - static_cast<int>(Isa::kAvx2));
}

// "AMD EPYC ..., avx2 avx512": for logs and benchmarks.
std::string MachineName();

}  // namespace parrot::kernels

#endif  // PARROT_MODEL_KERNELS_ISA_H_
