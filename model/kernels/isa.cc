#include "model/kernels/isa.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstring>

namespace parrot::kernels {
namespace {

constexpr std::array<std::string_view, 8> kNames = {"emulated-avx2",
                                                    "emulated-avx512",
                                                    "emulated-avx512_bf16",
                                                    "emulated-amx",
                                                    "avx2",
                                                    "avx512",
                                                    "avx512_bf16",
                                                    "amx"};

struct CpuidRegisters {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

CpuidRegisters Cpuid(uint32_t leaf, uint32_t subleaf) {
  CpuidRegisters r;
  if (__get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx) == 0) return {};
  return r;
}

constexpr bool Has(uint32_t bits, int bit) { return ((bits >> bit) & 1u) != 0; }

// The register states that the operating system saves; 0 when it says nothing.
uint64_t SavedStates() {
  if (!Has(Cpuid(1, 0).ecx, 27)) return 0;  // OSXSAVE
  uint32_t low = 0, high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t{high} << 32) | low;
}

bool HasAvx2() {
  const CpuidRegisters one = Cpuid(1, 0);
  return (SavedStates() & 0x6) == 0x6 && Has(Cpuid(7, 0).ebx, 5) && Has(one.ecx, 12) &&
         Has(one.ecx, 29);
}

bool HasAvx512() {
  const uint32_t ebx = Cpuid(7, 0).ebx;
  return (SavedStates() & 0xe6) == 0xe6 && Has(ebx, 16) && Has(ebx, 17) && Has(ebx, 30) &&
         Has(ebx, 31);
}

bool HasAvx512Bf16() { return HasAvx512() && Has(Cpuid(7, 1).eax, 5); }

bool IsAmd() {
  const CpuidRegisters vendor = Cpuid(0, 0);
  return vendor.ebx == 0x68747541 && vendor.edx == 0x69746e65;  // "Auth", "enti"
}

bool HasAmx() {
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long kTileData = 18;               // XFEATURE_XTILEDATA
  const uint32_t edx = Cpuid(7, 0).edx;
  return (SavedStates() & 0x60000) == 0x60000 && HasAvx512Bf16() && Has(edx, 22) && Has(edx, 24) &&
         Has(edx, 25) && syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

}  // namespace

std::string_view IsaName(Isa isa) { return kNames[static_cast<size_t>(isa)]; }

std::optional<Isa> ParseIsa(std::string_view name) {
  for (const Isa isa : {Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Bf16, Isa::kAmx}) {
    if (IsaName(isa) == name) return isa;
  }
  return std::nullopt;
}

std::vector<Isa> NativeIsas() {
  if (!HasAvx2()) return {};
  std::vector<Isa> native = {Isa::kAvx2};
  if (HasAvx512()) native.push_back(Isa::kAvx512);
  if (HasAvx512Bf16()) native.push_back(Isa::kAvx512Bf16);
  if (HasAmx()) native.push_back(Isa::kAmx);
  return native;
}

std::optional<Isa> BestIsa() {
  std::vector<Isa> native = NativeIsas();
  if (!native.empty() && native.back() == Isa::kAvx512Bf16 && !IsAmd()) native.pop_back();
  if (native.empty()) return std::nullopt;
  return native.back();
}

std::vector<Isa> AllIsas() {
  std::vector<Isa> all = {
      Isa::kEmulatedAvx2, Isa::kEmulatedAvx512, Isa::kEmulatedAvx512Bf16, Isa::kEmulatedAmx};
  for (const Isa isa : NativeIsas()) all.push_back(isa);
  return all;
}

bool HasAvx512Vnni() { return HasAvx512() && Has(Cpuid(7, 0).ecx, 11); }

std::string MachineName() {
  std::array<char, 49> brand = {};
  for (uint32_t i = 0; i < 3; ++i) {
    const CpuidRegisters part = Cpuid(0x80000002u + i, 0);
    std::memcpy(brand.data() + 16 * i, &part, 16);
  }
  std::string name = brand.data();
  name.erase(0, name.find_first_not_of(' '));
  name.erase(name.find_last_not_of(' ') + 1);
  for (const Isa isa : NativeIsas()) {
    name += isa == Isa::kAvx2 ? ", " : " ";
    name += IsaName(isa);
  }
  return name;
}

}  // namespace parrot::kernels
