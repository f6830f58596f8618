#include "train/world/phrasebook.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cctype>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "train/world/phrasebook_data.h"

namespace parrot {
namespace {

using ::testing::HasSubstr;

constexpr int kCircle = 0, kSquare = 1, kTriangle = 2, kStar = 3, kHeart = 4, kDiamond = 5,
              kCross = 6, kRing = 7;
constexpr int kRed = 0, kGreen = 1, kBlue = 2, kYellow = 3, kOrange = 4, kPurple = 5, kBrown = 6,
              kPink = 7;

struct Example {
  Question question;
  int phrasing;
  const char* sentence;
};

class PhrasebookTest : public ::testing::Test {
 protected:
  void ExpectSentences(Language language, const std::vector<Example>& examples) {
    for (const Example& example : examples) {
      EXPECT_EQ(Book(language).Ask(example.question, example.phrasing), example.sentence);
    }
  }
  const Phrasebook& Book(Language language) const { return books_[static_cast<size_t>(language)]; }

  const std::vector<Phrasebook> books_ = BuiltInPhrasebooks();
};

Question OfShape(Category category, int shape) { return {.category = category, .shape = shape}; }
Question OfColor(Category category, int color) { return {.category = category, .color = color}; }
Question OfCell(Category category, int cell) { return {.category = category, .cell = cell}; }
Question OfBoth(int shape, int color) {
  return {.category = Category::kExistBoth, .shape = shape, .color = color};
}
Question OfTwo(Category category, int shape, int other, int relation = -1) {
  return {.category = category, .shape = shape, .other_shape = other, .relation = relation};
}

// A small orange ring at the top left, a large red star in the centre, the digit 5, on white.
Scene CaptionExample() {
  return {.background = 0,
          .figures = {{.shape = kRing, .color = kOrange, .size = 0, .cell = 0},
                      {.shape = kStar, .color = kRed, .size = 1, .cell = 4}},
          .digit = Digit{.value = 5}};
}

TEST_F(PhrasebookTest, EnglishAgrees) {
  ExpectSentences(
      Language::kEnglish,
      {{OfShape(Category::kColor, kStar), 0, "What color is the star?"},
       {OfShape(Category::kCountShape, kCross), 0, "How many crosses are there in the picture?"},
       {OfShape(Category::kExistShape, kRing), 1, "Do you see a ring?"},
       {OfBoth(kStar, kOrange), 0, "Is there an orange star in the picture?"},
       {OfBoth(kStar, kRed), 5, "Is a red star shown in the picture?"},
       {OfCell(Category::kShapeAt, 4), 0, "Which shape is in the center?"},
       {OfCell(Category::kColorAt, 3), 5, "There is a shape at the middle left. What color is it?"},
       {OfTwo(Category::kRelation, kStar, kRing, 0), 0, "Is the star to the left of the ring?"},
       {OfTwo(Category::kRelation, kStar, kRing, 2),
        3,
        "Would you say the star is above the ring?"},
       {OfShape(Category::kSize, kHeart), 1, "Is the heart large or small?"},
       {OfShape(Category::kFollowColor, kHeart), 0, "What color is it?"}});
  EXPECT_EQ(Book(Language::kEnglish).Caption(CaptionExample()),
            "On a white background: a small orange ring at the top left, a large red star in the "
            "center. The digit is 5.");
}

TEST_F(PhrasebookTest, ChineseReadsWithoutSpaces) {
  ExpectSentences(Language::kChinese,
                  {{OfShape(Category::kColor, kStar), 0, "星形是什么颜色？"},
                   {OfShape(Category::kCountShape, kRing), 0, "图中有几个圆环？"},
                   {OfBoth(kHeart, kBlue), 0, "图中有蓝色的心形吗？"},
                   {OfCell(Category::kShapeAt, 0), 0, "左上角是什么图形？"},
                   {OfCell(Category::kColorAt, 4), 3, "请说出正中间图形的颜色。"},
                   {OfTwo(Category::kRelation, kStar, kCross, 0), 0, "星形在十字形的左边吗？"},
                   {OfTwo(Category::kSameColor, kStar, kCircle), 2, "星形与圆形颜色相同吗？"},
                   {OfShape(Category::kSize, kSquare), 0, "正方形是大的还是小的？"}});
  EXPECT_EQ(Book(Language::kChinese).Caption(CaptionExample()),
            "白色背景上有：左上角一个小的橙色圆环，正中间一个大的红色星形。数字是5。");
}

TEST_F(PhrasebookTest, PortugueseAgreesInGenderAndNumber) {
  ExpectSentences(
      Language::kPortuguese,
      {{OfShape(Category::kColor, kStar), 0, "Qual é a cor da estrela?"},
       {OfShape(Category::kColor, kHeart), 1, "De que cor é o coração?"},
       {OfShape(Category::kSize, kCross), 2, "A cruz é grande ou pequena?"},
       {OfShape(Category::kSize, kRing), 2, "O anel é grande ou pequeno?"},
       {OfShape(Category::kCountShape, kStar), 0, "Quantas estrelas há na imagem?"},
       {OfShape(Category::kCountShape, kRing), 0, "Quantos anéis há na imagem?"},
       {OfShape(Category::kCountShape, kHeart), 3, "Conte os corações na imagem."},
       {OfShape(Category::kCountShape, kCross), 4, "Diga quantas cruzes há na imagem."},
       {OfColor(Category::kCountColor, kBlue), 0, "Quantas figuras azuis há na imagem?"},
       {OfColor(Category::kCountColor, kBrown), 0, "Quantas figuras marrons há na imagem?"},
       {OfColor(Category::kCountColor, kPink), 0, "Quantas figuras rosa há na imagem?"},
       {OfColor(Category::kShape, kPurple), 0, "Qual é a forma da figura roxa?"},
       {OfBoth(kStar, kYellow), 0, "Há uma estrela amarela na imagem?"},
       {OfBoth(kCircle, kYellow), 7, "Um círculo amarelo é mostrado na imagem?"},
       {OfBoth(kCross, kRed), 7, "Uma cruz vermelha é mostrada na imagem?"},
       {OfTwo(Category::kRelation, kStar, kCircle, 0), 0, "A estrela está à esquerda do círculo?"},
       {OfTwo(Category::kRelation, kCircle, kCross, 3), 0, "O círculo está abaixo da cruz?"},
       {OfTwo(Category::kSameColor, kCross, kRing), 0, "A cruz e o anel têm a mesma cor?"},
       {OfShape(Category::kFollowColor, kStar), 1, "E qual é a cor dela?"},
       {OfShape(Category::kFollowSize, kSquare), 1, "Ele é grande ou pequeno?"}});
  EXPECT_EQ(Book(Language::kPortuguese).Caption(CaptionExample()),
            "Sobre um fundo branco: um anel laranja pequeno no canto superior esquerdo, uma "
            "estrela vermelha grande no centro. O algarismo é 5.");
}

TEST_F(PhrasebookTest, ArabicAgreesInGenderDefinitenessAndCase) {
  ExpectSentences(
      Language::kArabic,
      {{OfShape(Category::kColor, kCircle), 0, "ما لون الدائرة؟"},
       {OfShape(Category::kCountShape, kStar), 0, "كم عدد النجوم في الصورة؟"},
       {OfShape(Category::kCountShape, kSquare), 2, "كم مربعا ترى في الصورة؟"},
       {OfShape(Category::kCountShape, kRing), 6, "كم حلقة توجد في الصورة؟"},
       {OfShape(Category::kCountShape, kHeart), 6, "كم قلبا يوجد في الصورة؟"},
       {OfColor(Category::kCountColor, kRed), 0, "كم عدد الأشكال الحمراء في الصورة؟"},
       {OfColor(Category::kCountColor, kOrange), 2, "كم شكلا برتقاليا ترى في الصورة؟"},
       {OfColor(Category::kCountColor, kBlue), 2, "كم شكلا أزرق ترى في الصورة؟"},
       {OfColor(Category::kShape, kGreen), 0, "ما نوع الشكل الأخضر؟"},
       {OfShape(Category::kExistShape, kStar), 1, "هل توجد نجمة في الصورة؟"},
       {OfShape(Category::kExistShape, kDiamond), 1, "هل يوجد معين في الصورة؟"},
       {OfShape(Category::kExistShape, kTriangle), 5, "هل ترى مثلثا في الصورة؟"},
       {OfBoth(kStar, kYellow), 0, "هل هناك نجمة صفراء في الصورة؟"},
       {OfBoth(kSquare, kPink), 5, "هل ترى مربعا ورديا في الصورة؟"},
       {OfBoth(kRing, kBrown), 6, "هل تظهر حلقة بنية في الصورة؟"},
       {OfShape(Category::kSize, kCircle), 2, "هل الدائرة كبيرة أم صغيرة؟"},
       {OfShape(Category::kSize, kCross), 2, "هل الصليب كبير أم صغير؟"},
       {OfTwo(Category::kRelation, kCircle, kSquare, 0), 1, "هل تقع الدائرة على يسار المربع؟"},
       {OfTwo(Category::kSameColor, kHeart, kRing), 0, "هل القلب والحلقة باللون نفسه؟"},
       {OfShape(Category::kFollowColor, kStar), 0, "ما لونها؟"},
       {OfShape(Category::kFollowSize, kSquare), 1, "هل هو كبير أم صغير؟"}});
  EXPECT_EQ(Book(Language::kArabic).Caption(CaptionExample()),
            "على خلفية بيضاء: حلقة برتقالية صغيرة في أعلى اليسار، نجمة حمراء كبيرة في المنتصف. "
            "الرقم هو 5.");
}

TEST_F(PhrasebookTest, TurkishSuffixesFollowVowelHarmony) {
  ExpectSentences(
      Language::kTurkish,
      {{OfShape(Category::kColor, kStar), 1, "Yıldızın rengi nedir?"},
       {OfShape(Category::kColor, kHeart), 1, "Kalbin rengi nedir?"},
       {OfShape(Category::kColor, kTriangle), 3, "Üçgenin rengini söyleyin."},
       {OfShape(Category::kColor, kDiamond), 5, "Eşkenar dörtgenin rengi ne?"},
       {OfShape(Category::kSize, kCross), 0, "Artı büyük mü küçük mü?"},
       {OfShape(Category::kCountShape, kHeart), 2, "Kalplerin sayısı kaç?"},
       {OfShape(Category::kCountShape, kRing), 3, "Resimdeki halkaları sayın."},
       {OfShape(Category::kCountShape, kCircle), 0, "Resimde kaç daire var?"},
       {OfBoth(kSquare, kYellow), 1, "Bu resimde sarı bir kare var mı?"},
       {OfCell(Category::kColorAt, 1), 0, "Üst ortadaki şekil ne renk?"},
       {OfCell(Category::kShapeAt, 6), 0, "Sol altta hangi şekil var?"},
       {OfTwo(Category::kRelation, kStar, kCircle, 0), 0, "Yıldız dairenin solunda mı?"},
       {OfTwo(Category::kRelation, kStar, kHeart, 2), 0, "Yıldız kalbin üstünde mi?"},
       {OfTwo(Category::kRelation, kRing, kCross, 3), 0, "Halka artının altında mı?"},
       {OfTwo(Category::kSameColor, kStar, kSquare), 2, "Yıldızın rengi karenin rengiyle aynı mı?"},
       {OfShape(Category::kFollowSize, kStar), 0, "Büyük mü küçük mü?"}});
  EXPECT_EQ(
      Book(Language::kTurkish).Caption(CaptionExample()),
      "Beyaz arka planda: sol üstte küçük turuncu bir halka, ortada büyük kırmızı bir yıldız. "
      "Rakam 5.");
}

TEST_F(PhrasebookTest, RussianAgreesInGenderNumberAndCase) {
  ExpectSentences(
      Language::kRussian,
      {{OfShape(Category::kColor, kStar), 0, "Какого цвета звезда?"},
       {OfShape(Category::kColor, kHeart), 1, "Какой цвет у сердца?"},
       {OfShape(Category::kSize, kRing), 2, "Кольцо большое или маленькое?"},
       {OfShape(Category::kSize, kStar), 2, "Звезда большая или маленькая?"},
       {OfShape(Category::kSize, kCross), 2, "Крест большой или маленький?"},
       {OfShape(Category::kCountShape, kStar), 0, "Сколько звёзд на картинке?"},
       {OfShape(Category::kCountShape, kHeart), 0, "Сколько сердец на картинке?"},
       {OfShape(Category::kCountShape, kRing), 2, "Каково количество колец?"},
       {OfColor(Category::kCountColor, kBlue), 0, "Сколько синих фигур на картинке?"},
       {OfColor(Category::kShape, kBlue), 1, "Какая форма у синей фигуры?"},
       {OfColor(Category::kShape, kYellow), 5, "Какой формы жёлтая фигура?"},
       {OfBoth(kStar, kRed), 0, "Есть ли на картинке красная звезда?"},
       {OfBoth(kRing, kBlue), 0, "Есть ли на картинке синее кольцо?"},
       {OfBoth(kStar, kBlue), 4, "Вы видите синюю звезду на картинке?"},
       {OfBoth(kHeart, kPink), 5, "Видите ли вы розовое сердце?"},
       {OfBoth(kDiamond, kOrange), 7, "Вы видите оранжевый ромб?"},
       {OfShape(Category::kPosition, kHeart), 3, "Где расположено сердце?"},
       {OfShape(Category::kPosition, kStar), 3, "Где расположена звезда?"},
       {OfTwo(Category::kRelation, kStar, kCircle, 0), 0, "Звезда находится слева от круга?"},
       {OfTwo(Category::kRelation, kSquare, kRing, 3), 4, "Квадрат расположен ниже кольца?"},
       {OfTwo(Category::kRelation, kRing, kStar, 2), 7, "Расположено ли кольцо выше звезды?"},
       {OfTwo(Category::kSameColor, kTriangle, kStar),
        1,
        "Одинаковый ли цвет у треугольника и звезды?"},
       {OfShape(Category::kFollowColor, kStar), 1, "Какой у неё цвет?"},
       {OfShape(Category::kFollowColor, kSquare), 0, "Какого он цвета?"},
       {OfShape(Category::kFollowSize, kHeart), 5, "Оно большое или маленькое?"}});
  EXPECT_EQ(Book(Language::kRussian).Caption(CaptionExample()),
            "На белом фоне: маленькое оранжевое кольцо слева вверху, большая красная звезда в "
            "центре. Цифра 5.");
}

TEST_F(PhrasebookTest, AnswersAreCitationForms) {
  const auto name = [&](Language language, AnswerKind kind, int value) {
    return Book(language).Name({kind, value});
  };
  EXPECT_EQ(name(Language::kEnglish, AnswerKind::kCell, 0), "top left");
  EXPECT_EQ(name(Language::kRussian, AnswerKind::kColor, kBlue), "синий");
  EXPECT_EQ(name(Language::kPortuguese, AnswerKind::kSize, 0), "pequeno");
  EXPECT_EQ(name(Language::kArabic, AnswerKind::kShape, kCircle), "دائرة");
  EXPECT_EQ(name(Language::kTurkish, AnswerKind::kYesNo, 1), "evet");
  EXPECT_EQ(name(Language::kChinese, AnswerKind::kBackground, 3), "青色");
  for (const Phrasebook& book : books_) EXPECT_EQ(book.Name({AnswerKind::kNumber, 7}), "7");
}

TEST_F(PhrasebookTest, NamesOfOneKindDiffer) {
  const std::map<AnswerKind, int> sizes = {{AnswerKind::kShape, 8},
                                           {AnswerKind::kColor, 8},
                                           {AnswerKind::kSize, 2},
                                           {AnswerKind::kCell, 9},
                                           {AnswerKind::kYesNo, 2},
                                           {AnswerKind::kBackground, 4}};
  for (const Phrasebook& book : books_) {
    for (const auto& [kind, size] : sizes) {
      std::set<std::string> names;
      for (int value = 0; value < size; ++value) names.insert(book.Name({kind, value}));
      EXPECT_EQ(static_cast<int>(names.size()), size);
    }
  }
}

// Every sentence with every shape, colour, ...: nothing is left to fill, no double space, and it
// ends as a sentence does.
TEST_F(PhrasebookTest, EverySentenceIsComplete) {
  for (const Phrasebook& book : books_) {
    for (int category = 0; category < kNumCategories; ++category) {
      for (int phrasing = 0; phrasing < kNumPhrasings; ++phrasing) {
        for (int value = 0; value < 72; ++value) {
          const std::string sentence = book.Ask({.category = static_cast<Category>(category),
                                                 .shape = value % 8,
                                                 .other_shape = value / 8 % 8,
                                                 .color = value / 8 % 8,
                                                 .cell = value % 9,
                                                 .relation = value % 4},
                                                phrasing);
          EXPECT_EQ(sentence.find_first_of("{}~"), std::string::npos) << sentence;
          EXPECT_EQ(sentence.find("  "), std::string::npos) << sentence;
          EXPECT_EQ(std::islower(static_cast<unsigned char>(sentence[0])), 0) << sentence;
          const bool ends = sentence.ends_with('?') || sentence.ends_with('.') ||
                            sentence.ends_with("？") || sentence.ends_with("。") ||
                            sentence.ends_with("؟");
          EXPECT_TRUE(ends) << sentence;
        }
      }
    }
  }
}

TEST_F(PhrasebookTest, HeldOutSentencesNeverOccurInTraining) {
  for (const Phrasebook& book : books_) {
    std::set<std::string> trained;
    for (const bool held_out : {false, true}) {
      for (int category = 0; category < kNumCategories; ++category) {
        const int begin = held_out ? kNumTrainedPhrasings : 0;
        const int end = held_out ? kNumPhrasings : kNumTrainedPhrasings;
        for (int phrasing = begin; phrasing < end; ++phrasing) {
          const std::string sentence = book.Ask({.category = static_cast<Category>(category),
                                                 .shape = kStar,
                                                 .other_shape = kRing,
                                                 .color = kBlue,
                                                 .cell = 0,
                                                 .relation = 0},
                                                phrasing);
          if (!held_out) {
            trained.insert(sentence);
          } else {
            EXPECT_FALSE(trained.contains(sentence)) << sentence;
          }
        }
      }
    }
  }
}

// What the reader refuses, by breaking the Russian file.
class BrokenPhrasebookTest : public ::testing::Test {
 protected:
  std::string Error() const {
    return std::string(Phrasebook::Parse(Language::kRussian, json_.dump()).status().message());
  }

  nlohmann::json json_ =
      nlohmann::json::parse(kPhrasebookJson[static_cast<size_t>(Language::kRussian)]);
};

TEST_F(BrokenPhrasebookTest, SoundAsItIs) { EXPECT_EQ(Error(), ""); }

TEST_F(BrokenPhrasebookTest, MissingForm) {
  json_["colors"][kPink].erase("n.acc");
  EXPECT_THAT(Error(), HasSubstr("a form is missing for 'Вы видите {c~s:acc} {s:acc}"));
}

TEST_F(BrokenPhrasebookTest, FormThatNoSentenceUses) {
  json_["shapes"][kStar]["dat"] = "звезде";
  EXPECT_THAT(Error(), HasSubstr("no sentence uses the form 'dat'"));
}

TEST_F(BrokenPhrasebookTest, SlotThatTheQuestionDoesNotHave) {
  json_["questions"]["color"][0] = "Какого цвета {t}?";
  EXPECT_THAT(Error(), HasSubstr("an unknown place"));
}

TEST_F(BrokenPhrasebookTest, OpenPlace) {
  json_["questions"]["color"][0] = "Какого цвета {s?";
  EXPECT_THAT(Error(), HasSubstr("not closed"));
}

TEST_F(BrokenPhrasebookTest, TwoEqualSentences) {
  json_["questions"]["color"][1] = json_["questions"]["color"][0];
  EXPECT_THAT(Error(), HasSubstr("needs 8 different sentences"));
}

TEST_F(BrokenPhrasebookTest, MissingCategory) {
  json_["questions"].erase("digit");
  EXPECT_THAT(Error(), HasSubstr("another set of categories"));
}

TEST_F(BrokenPhrasebookTest, NotJson) {
  EXPECT_FALSE(Phrasebook::Parse(Language::kRussian, "{").ok());
}

}  // namespace
}  // namespace parrot
