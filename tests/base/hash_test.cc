#include "base/hash.h"

#include <string>

#include "gtest/gtest.h"

namespace parrot {
namespace {

// FIPS 180-2, appendix B.
TEST(HashTest, MatchesPublishedVectors) {
  EXPECT_EQ(Sha256Of("abc").ToHex(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Sha256Of("").ToHex(),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST(HashTest, PiecesEqualTheWhole) {
  Sha256 hash;
  hash.Update("a");
  hash.Update("bc");
  EXPECT_EQ(hash.Finish(), Sha256Of("abc"));
}

TEST(HashTest, SizedUpdatesSeparateNeighbours) {
  Sha256 first;
  first.UpdateSized("ab");
  first.UpdateSized("c");
  Sha256 second;
  second.UpdateSized("a");
  second.UpdateSized("bc");
  EXPECT_NE(first.Finish(), second.Finish());
}

TEST(HashTest, IntegersAreEightBytesLittleEndian) {
  Sha256 hash;
  hash.UpdateInt(0x0102);
  EXPECT_EQ(hash.Finish(), Sha256Of(std::string("\x02\x01\0\0\0\0\0\0", 8)));
}

TEST(HashTest, DigestsAreReadFromThirtyTwoBytesAlone) {
  const Sha256Digest digest = Sha256Of("abc");
  EXPECT_EQ(Sha256Digest::FromBytes(digest.view()), digest);
  EXPECT_FALSE(Sha256Digest::FromBytes(digest.view().substr(1)).has_value());
  EXPECT_FALSE(Sha256Digest::FromBytes(std::string(33, 'x')).has_value());
}

TEST(HashTest, ConstantTimeEqualsComparesLengthAndBytes) {
  EXPECT_TRUE(ConstantTimeEquals("key", "key"));
  EXPECT_TRUE(ConstantTimeEquals("", ""));
  EXPECT_FALSE(ConstantTimeEquals("key", "kez"));
  EXPECT_FALSE(ConstantTimeEquals("key", "key1"));
}

}  // namespace
}  // namespace parrot
