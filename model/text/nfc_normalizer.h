// Unicode normalisation form C as the reference's tokenizer applies it: decompositions and
// compositions of Unicode 14.0, combining classes of Unicode 9.0. utf8proc 2.8 knows Unicode 15.0,
// which composes nothing more; what it has new is held off by our own tables. The 98 marks that
// got a class after 9.0 count as class 0, and U+11938 is neither decomposed nor composed. Matching
// this exactly is what makes token ids equal. Linear time but for the sorting of one run of marks.
// Thread-safe.
#ifndef PARROT_MODEL_TEXT_NFC_NORMALIZER_H_
#define PARROT_MODEL_TEXT_NFC_NORMALIZER_H_

#include <string>
#include <string_view>

namespace parrot {

// NFC never shrinks UTF-8 by more than this factor (three Hangul jamo of 3 bytes become one
// syllable of 3 bytes); it lets a caller bound the work before doing it.
inline constexpr int kMaxNfcShrink = 3;

// The normalised text: `text` itself if nothing in it is NFC-sensitive, else a view of *storage.
// REQUIRES: text is valid UTF-8.
std::string_view NormalizeNfc(std::string_view text, std::string* storage);

}  // namespace parrot

#endif  // PARROT_MODEL_TEXT_NFC_NORMALIZER_H_
