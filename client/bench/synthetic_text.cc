#include "client/bench/synthetic_text.h"

#include <algorithm>
#include <array>

#include "base/check.h"

namespace parrot {
namespace {

struct Vocabulary {
  std::string_view language;
  std::string_view separator;
  std::array<std::string_view, 24> words;
};

constexpr std::array<Vocabulary, 6> kVocabularies = {{
    {"en", " ", {"the",    "picture", "shows", "a",       "bird",  "on",   "tree",   "what",
                 "colour", "is",      "house", "near",    "river", "with", "small",  "people",
                 "why",    "are",     "they",  "walking", "in",    "old",  "street", "today"}},
    {"zh", "", {"图片", "里",   "有",   "一只", "鸟",   "在",   "树上", "什么",
                "颜色", "是",   "房子", "旁边", "河",   "小",   "人们", "为什么",
                "他们", "走路", "街道", "今天", "天气", "很好", "请",   "描述"}},
    {"pt", " ", {"a",   "imagem", "mostra", "um",      "pássaro", "na",      "árvore", "qual",
                 "cor", "é",      "casa",   "perto",   "do",      "rio",     "com",    "pessoas",
                 "por", "que",    "estão",  "andando", "em",      "pequena", "rua",    "hoje"}},
    {"ar", " ", {"الصورة", "تظهر", "طائر",   "على",    "الشجرة", "ما",    "لون",   "هو",
                 "البيت",  "قرب",  "النهر",  "مع",     "صغير",   "الناس", "لماذا", "هم",
                 "يمشون",  "في",   "الشارع", "القديم", "اليوم",  "كم",    "عدد",   "السيارات"}},
    {"tr", " ", {"resimde",  "bir",   "kuş",   "ağacın",  "üstünde", "ne",
                 "renk",     "olan",  "ev",    "nehrin",  "yanında", "küçük",
                 "insanlar", "neden", "onlar", "yürüyor", "eski",    "sokakta",
                 "bugün",    "kaç",   "araba", "var",     "güzel",   "açıkla"}},
    {"ru", " ", {"на",    "картинке", "птица", "сидит",     "дереве",  "какого", "цвета", "дом",
                 "рядом", "с",        "рекой", "маленькие", "люди",    "почему", "они",   "идут",
                 "по",    "старой",   "улице", "сегодня",   "сколько", "машин",  "здесь", "опиши"}},
}};

const Vocabulary* Find(std::string_view language) {
  const auto* found = std::find_if(kVocabularies.begin(),
                                   kVocabularies.end(),
                                   [&](const Vocabulary& v) { return v.language == language; });
  return found == kVocabularies.end() ? nullptr : found;
}

}  // namespace

bool IsSyntheticLanguage(std::string_view language) { return Find(language) != nullptr; }

std::string SyntheticText(std::string_view language, int64_t num_words, std::mt19937_64& random) {
  const Vocabulary* vocabulary = Find(language);
  PARROT_CHECK(vocabulary != nullptr) << "no words for this language";
  std::string text;
  for (int64_t i = 0; i < num_words; ++i) {
    if (i > 0) text += vocabulary->separator;
    text += vocabulary->words[random() % vocabulary->words.size()];
  }
  return text;
}

}  // namespace parrot
