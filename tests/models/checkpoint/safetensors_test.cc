#include "models/checkpoint/safetensors.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstring>
#include <string>

#include "tests/models/base/temp_folder.h"

namespace deltaserve {
namespace {

std::string text_of(const absl::Status& status) {
  return status.ToString();
}

TEST(SafetensorsHeader, ReadsShapesAndDtypes) {
  const auto tensors = parse_safetensors_header(
      R"({"__metadata__": {"format": "pt"},
          "b": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [4, 16]},
          "a": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]},
          "c": {"dtype": "F16", "shape": [0, 7], "data_offsets": [16, 16]}})",
      16);
  ASSERT_TRUE(tensors.ok()) << tensors.status();
  EXPECT_EQ(tensors->size(), 3u);
  EXPECT_EQ(tensors->at("a").num_elements(), 1);
  EXPECT_EQ(tensors->at("b").dtype, Dtype::kBf16);
  EXPECT_EQ(tensors->at("b").shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(tensors->at("b").begin, 4u);
  EXPECT_EQ(tensors->at("c").num_elements(), 0);
}

TEST(SafetensorsHeader, ManyTensorsAreRefusedBeforeTheyAreParsed) {
  std::string header = "{";
  for (int i = 0; i < 600'000; ++i) header += "\"t\":{},";
  const auto tensors = parse_safetensors_header(header, 0);  // it has no end: no parser saw it
  EXPECT_NE(text_of(tensors.status()).find("200000 tensors"), std::string::npos);
  std::string index = R"({"weight_map":{)";
  for (int i = 0; i < 600'000; ++i) index += R"("t":"a",)";
  const auto shards = parse_shard_names(index);
  EXPECT_NE(text_of(shards.status()).find("200000 tensors"), std::string::npos);
}

struct Attack {
  const char* what;
  const char* header;
  uint64_t data_bytes;
  const char* expected;  // in the message
};

constexpr Attack kAttacks[] = {
    {"not JSON", "{", 0, "JSON"},
    {"no object", "[]", 0, "object"},
    {"trailing text", "{} x", 0, "after the end"},
    {"unsupported dtype", R"({"t":{"dtype":"I8","shape":[4],"data_offsets":[0,4]}})", 4, "I8"},
    {"8-bit float", R"({"t":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]}})", 4, "F8_E4M3"},
    {"dtype of another type", R"({"t":{"dtype":32,"shape":[1],"data_offsets":[0,4]}})", 4, "32"},
    {"size too large", R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[0,8]}})", 8, "needs 4"},
    {"size too small", R"({"t":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8, "needs 12"},
    {"beyond the data", R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 4, "byte 8"},
    {"data left over", R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 8, "byte 4"},
    {"data without tensors", "{}", 8, "byte 0"},
    {"reversed", R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4, "begin <= end"},
    {"negative", R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}})", 4, "begin <= end"},
    {"fraction", R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4.0]}})", 4, "data_offsets"},
    {"huge offset", R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[0,18446744073709551615]}})",
     4, "data_offsets"},
    {"three offsets", R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4,4]}})", 4,
     "data_offsets"},
    {"negative size", R"({"t":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4, "-1"},
    {"shape overflows to 0",
     R"({"t":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0, "2^60"},
    {"bytes overflow",
     R"({"t":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]}})", 0, "2^60"},
    {"rank", R"({"t":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]}})", 4, "8"},
    {"shape no list", R"({"t":{"dtype":"F32","shape":1,"data_offsets":[0,4]}})", 4, "list"},
    {"member missing", R"({"t":{"dtype":"F32","shape":[1]}})", 4, "exactly"},
    {"member too many", R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}})", 4,
     "exactly"},
    {"no members", R"({"t":[]})", 0, "exactly"},
    {"duplicate tensor",
     R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
         "t":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
     8, "twice"},
    {"duplicate member", R"({"t":{"dtype":"F32","dtype":"F16","shape":[1],"data_offsets":[0,4]}})",
     4, "twice"},
    {"overlap",
     R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
         "b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})",
     12, "overlaps"},
    {"same range",
     R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
         "b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
     8, "overlaps"},
    {"hole",
     R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
         "b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}})",
     12, "hole"},
    {"hole at the start", R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8, "hole"},
};

TEST(SafetensorsHeader, Attacks) {
  for (const Attack& attack : kAttacks) {
    const auto tensors = parse_safetensors_header(attack.header, attack.data_bytes);
    ASSERT_FALSE(tensors.ok()) << attack.what;
    EXPECT_EQ(tensors.status().code(), absl::StatusCode::kInvalidArgument) << attack.what;
    EXPECT_NE(text_of(tensors.status()).find(attack.expected), std::string::npos)
        << attack.what << ": " << tensors.status();
  }
}

TEST(SafetensorsHeader, ForeignNamesAreShownEscapedAndCut) {
  const std::string header = R"({"\u001b[2J)" + std::string(5000, 'x') + R"(":[]})";
  const std::string text = text_of(parse_safetensors_header(header, 0).status());
  EXPECT_LT(text.size(), 400u);
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
}

constexpr char kOneTensor[] = R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";

TEST(Checkpoint, ReadsOneFile) {
  TempFolder temp;
  temp.write("model.safetensors", safetensors_file(kOneTensor, "\x01\x02\x03\x04"));
  const auto checkpoint = Checkpoint::open(temp.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  ASSERT_EQ(checkpoint->tensors().size(), 1u);
  EXPECT_EQ(std::memcmp(checkpoint->tensors().at("t").data, "\x01\x02\x03\x04", 4), 0);
}

TEST(Checkpoint, BrokenFiles) {
  const std::string whole = safetensors_file(kOneTensor, "abcd");
  const std::string huge = std::string(8, '\xff') + whole.substr(8);
  const std::string zero = std::string(8, '\0') + whole.substr(8);
  std::string too_long = whole;
  too_long[0] = static_cast<char>(whole.size() - 8 + 1);
  const std::string files[] = {"",
                               "1234567",
                               whole.substr(0, 8),
                               whole.substr(0, 30),
                               huge,
                               zero,
                               whole.substr(0, whole.size() - 1),
                               too_long,
                               whole + "x"};
  for (const std::string& file : files) {
    TempFolder temp;
    temp.write("model.safetensors", file);
    const auto checkpoint = Checkpoint::open(temp.path());
    ASSERT_FALSE(checkpoint.ok()) << file.size();
    EXPECT_EQ(checkpoint.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(text_of(checkpoint.status()).find("model.safetensors"), std::string::npos);
  }
}

TEST(Checkpoint, HeaderBeyondTheCap) {
  TempFolder temp;
  std::string file = safetensors_file("{}", "");
  const uint64_t claimed = 100'000'001;
  std::memcpy(file.data(), &claimed, sizeof claimed);
  temp.write("model.safetensors", file);
  std::filesystem::resize_file(temp.file("model.safetensors"), 200'000'000);  // sparse
  EXPECT_NE(text_of(Checkpoint::open(temp.path()).status()).find("100000001"), std::string::npos);
}

TEST(Checkpoint, NotARegularFile) {
  TempFolder fifo;
  ASSERT_EQ(::mkfifo(fifo.file("model.safetensors").c_str(), 0600), 0);
  EXPECT_FALSE(Checkpoint::open(fifo.path()).ok());
  TempFolder folder;
  std::filesystem::create_directory(folder.file("model.safetensors"));
  EXPECT_FALSE(Checkpoint::open(folder.path()).ok());
  TempFolder empty;
  EXPECT_TRUE(absl::IsNotFound(Checkpoint::open(empty.path()).status()));
}

std::string one_tensor(const std::string& name) {
  return safetensors_file(R"({")" + name + R"(":{"dtype":"F16","shape":[1],"data_offsets":[0,2]}})",
                          "ab");
}

void write_index(const TempFolder& temp, const std::string& weight_map) {
  temp.write("model.safetensors.index.json", R"({"weight_map": )" + weight_map + "}");
}

TEST(Checkpoint, ReadsShards) {
  TempFolder temp;
  temp.write("one.safetensors", one_tensor("a"));
  temp.write("two.safetensors", one_tensor("b"));
  write_index(temp, R"({"a": "one.safetensors", "b": "two.safetensors"})");
  const auto checkpoint = Checkpoint::open(temp.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ(checkpoint->tensors().size(), 2u);
}

TEST(Checkpoint, ShardIndexAttacks) {
  const std::pair<const char*, const char*> attacks[] = {
      {R"({"a": "../one.safetensors"})", "../one"},
      {R"({"a": "/etc/x.safetensors"})", "/etc"},
      {R"({"a": "sub/one.safetensors"})", "sub/one"},
      {R"({"a": "one.safetensors\u0000"})", "one"},
      {R"({"a": ".hidden.safetensors"})", ".hidden"},
      {R"({"a": ".."})", ".."},
      {R"({"a": ""})", "name of"},
      {R"({"a": "config.json"})", "config.json"},
      {R"({"a": 3})", "3"},
      {R"({"a": "one.safetensors", "a": "one.safetensors"})", "twice"},
      {R"({"a": "one.safetensors", "z": "one.safetensors"})", "'z'"},
      {R"({"b": "one.safetensors"})", "'a'"},
      {R"({"a": "two.safetensors"})", "'b'"},
      {R"({"a": "gone.safetensors"})", "gone"},
      {R"({"a": "one.safetensors", "b": "one.safetensors"})", "'b'"},
      {R"({"a": "one.safetensors", "x": "copy.safetensors"})", "copy"},
      {R"([])", "weight_map"},
  };
  for (const auto& [weight_map, expected] : attacks) {
    TempFolder temp;
    temp.write("one.safetensors", one_tensor("a"));
    temp.write("two.safetensors", one_tensor("b"));
    temp.write("copy.safetensors", one_tensor("a"));
    write_index(temp, weight_map);
    const auto checkpoint = Checkpoint::open(temp.path());
    ASSERT_FALSE(checkpoint.ok()) << weight_map;
    EXPECT_NE(text_of(checkpoint.status()).find(expected), std::string::npos)
        << weight_map << ": " << checkpoint.status();
  }
}

TEST(WriteSafetensors, RoundTripInBlocks) {
  TempFolder temp;
  const int64_t rows = 700'000;  // more than one block
  const auto fill = [](size_t tensor, uint64_t first, uint64_t size, char* out) {
    for (uint64_t i = 0; i < size; ++i) {
      out[i] = static_cast<char>((first + i) * 31 + tensor);
    }
  };
  const absl::Status status = write_safetensors(
      temp.file("model.safetensors"),
      {{"odd \"name\"", Dtype::kBf16, {3}}, {"large", Dtype::kF32, {rows, 1}}}, fill);
  ASSERT_TRUE(status.ok()) << status;
  const auto checkpoint = Checkpoint::open(temp.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const Tensor& large = checkpoint->tensors().at("large");
  EXPECT_EQ(large.info.shape, (std::vector<int64_t>{rows, 1}));
  for (uint64_t i = 0; i < 4 * rows; ++i) {
    ASSERT_EQ(static_cast<const char*>(large.data)[i], static_cast<char>(i * 31 + 1)) << i;
  }
  EXPECT_EQ(checkpoint->tensors().count("odd \"name\""), 1u);
  EXPECT_FALSE(std::filesystem::exists(temp.file("model.safetensors.partial")));
}

TEST(WriteSafetensors, FolderThatIsNotThere) {
  TempFolder temp;
  EXPECT_FALSE(write_safetensors(temp.file("no/x.safetensors"), {}, nullptr).ok());
}

}  // namespace
}  // namespace deltaserve
