// SHA-256 for content keys. Keys cross tenants, so they are cryptographic (a 64-bit hash as a cache
// key was exploited elsewhere: CVE-2025-46722).
#ifndef PARROT_BASE_HASH_H_
#define PARROT_BASE_HASH_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

namespace parrot {

struct Sha256Digest {
  std::array<uint8_t, 32> bytes{};

  friend bool operator==(const Sha256Digest&, const Sha256Digest&) = default;
  friend auto operator<=>(const Sha256Digest&, const Sha256Digest&) = default;
  // Lower-case hexadecimal, 64 characters.
  std::string ToHex() const;
  // nullopt unless they are 32.
  static std::optional<Sha256Digest> FromBytes(std::string_view raw);
  // The 32 bytes.
  std::string_view view() const {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  // Abseil hash tables. The digest is already uniform.
  template <typename H>
  friend H AbslHashValue(H h, const Sha256Digest& d) {
    uint64_t word = 0;
    std::memcpy(&word, d.bytes.data(), sizeof(word));
    return H::combine(std::move(h), word);
  }
};

// Incremental SHA-256. Confined to one thread.
//   Sha256 h; h.Update(salt); h.UpdateInt(width); h.Update(pixels, size); key = h.Finish();
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void Update(const void* data, size_t size_bytes);
  void Update(std::string_view data) { Update(data.data(), data.size()); }
  // Eight bytes, little-endian: gives every number the same length.
  void UpdateInt(uint64_t value);
  // A length prefix and the bytes, so that ("ab","c") and ("a","bc") differ.
  void UpdateSized(std::string_view data);
  // Call once; the object is spent.
  Sha256Digest Finish();

 private:
  void* context_;  // EVP_MD_CTX, owned
};

Sha256Digest Sha256Of(std::string_view data);

// Equal length and bytes, in time that depends on the lengths alone. For credentials.
bool ConstantTimeEquals(std::string_view a, std::string_view b);

}  // namespace parrot

#endif  // PARROT_BASE_HASH_H_
