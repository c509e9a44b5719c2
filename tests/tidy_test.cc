// Checks the house rules that a program can check: layers include downward only, files and lines
// stay readable, comments begin with a sentence, names are the field's, nothing is left unfinished.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;

struct Source {
  std::string path;  // from the root, with '/'
  std::vector<std::string> lines;
};

bool is_code(const fs::path& path) {
  const std::string extension = path.extension();
  return extension == ".h" || extension == ".cc" || extension == ".cu" || extension == ".cuh";
}

std::vector<Source> all_sources() {
  std::vector<Source> sources;
  const fs::path root = DELTASERVE_ROOT;
  for (const char* folder : {"kernels", "models", "engine", "server", "tests"}) {
    for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
      if (!entry.is_regular_file() || !is_code(entry.path())) continue;
      Source source;
      source.path = fs::relative(entry.path(), root).generic_string();
      std::ifstream file(entry.path());
      for (std::string line; std::getline(file, line);) source.lines.push_back(line);
      sources.push_back(std::move(source));
    }
  }
  return sources;
}

// The floors of a folder, from the ground up: a file includes its own folder and those of the
// floors below. Folders of one floor do not include each other. "" stands for files that lie in the
// folder itself.
struct Floors {
  const char* folder;
  std::vector<std::vector<std::string>> floors;
};

const std::vector<Floors>& all_floors() {
  static const std::vector<Floors> kFloors = {
      {"", {{"kernels"}, {"models"}, {"engine"}, {"server"}, {"tests"}}},
      {"kernels/", {{"base"}, {"mixer"}, {"program"}, {"module"}, {"cpu", "cuda"}}},
      {"kernels/cpu/", {{"base"}, {"matmul", "rule"}, {"layer"}, {"draw"}, {"program"}}},
      {"kernels/cuda/",
       {{"device"}, {"matmul", "rule"}, {"draw", "layer"}, {"self_test"}, {"program"}, {"module"}}},
      {"models/", {{"base"}, {"checkpoint"}, {"mapping", "tokenizer"}, {""}}},
      {"engine/", {{"base"}, {"reuse"}, {"step"}, {"sequence"}, {"grammar", "loop"}}},
      {"server/",
       {{"base", "template"},
        {"observe"},
        {"service"},
        {"openai", "grpc"},
        {"http"},
        {"commands"},
        {"loadgen"},
        {""}}},
  };
  return kFloors;
}

// The floor of a path inside `house`; -1 where it has none.
int floor_of(const Floors& house, const std::string& path) {
  const std::string rest = path.substr(std::string(house.folder).size());
  const size_t slash = rest.find('/');
  const std::string name = slash == std::string::npos ? "" : rest.substr(0, slash);
  for (size_t floor = 0; floor < house.floors.size(); ++floor) {
    const std::vector<std::string>& names = house.floors[floor];
    if (std::find(names.begin(), names.end(), name) != names.end()) return static_cast<int>(floor);
  }
  return -1;
}

bool same_folder(const Floors& house, const std::string& a, const std::string& b) {
  const size_t from = std::string(house.folder).size();
  const size_t end = std::min(a.find('/', from), a.size());
  const size_t other = std::min(b.find('/', from), b.size());
  if (a.find('/', from) == std::string::npos && b.find('/', from) == std::string::npos) return true;
  return a.substr(from, end - from) == b.substr(from, other - from);
}

std::string included(const std::string& line) {
  static const std::regex kInclude("^\\s*#\\s*include\\s*[\"<]([^\">]+)[\">].*");
  std::smatch match;
  return std::regex_match(line, match, kInclude) ? match[1].str() : "";
}

TEST(Tidy, FilesIncludeDownwardOnly) {
  for (const Source& source : all_sources()) {
    for (const Floors& house : all_floors()) {
      if (!source.path.starts_with(house.folder)) continue;
      const int own = floor_of(house, source.path);
      EXPECT_GE(own, 0) << source.path << " lies on no floor of " << house.folder;
      for (const std::string& line : source.lines) {
        const std::string target = included(line);
        const bool inside = target.starts_with(house.folder) && floor_of(house, target) >= 0 &&
                            target.find('/') != std::string::npos;
        if (!inside || same_folder(house, source.path, target)) continue;
        EXPECT_LT(floor_of(house, target), own) << source.path << " includes " << target;
      }
    }
  }
}

// What stands above kernels/ knows a Backend and how to get one, not what it is made of.
TEST(Tidy, NobodyLooksInsideABackend) {
  for (const Source& source : all_sources()) {
    if (source.path.starts_with("kernels/") || source.path.starts_with("tests/")) continue;
    for (const std::string& line : source.lines) {
      const std::string target = included(line);
      EXPECT_FALSE(target.starts_with("kernels/cpu/") || target.starts_with("kernels/cuda/"))
          << source.path << " includes " << target;
    }
  }
}

TEST(Tidy, KernelsKnowNoFramework) {
  for (const Source& source : all_sources()) {
    if (!source.path.starts_with("kernels/")) continue;
    const bool shared =
        source.path.starts_with("kernels/base/") || source.path.starts_with("kernels/mixer/");
    for (const std::string& line : source.lines) {
      const std::string target = included(line);
      // The emulation of a GPU is for tests alone.
      if (source.path.ends_with("cuda/device/simt_host.cc") && target.starts_with("boost/context/"))
        continue;
      EXPECT_FALSE(target.starts_with("absl/") || target.starts_with("boost/"))
          << source.path << " includes " << target;
      if (shared) {
        EXPECT_FALSE(target.starts_with("hwy/") || target.starts_with("cuda"))
            << source.path << " includes " << target;
      }
    }
  }
}

TEST(Tidy, TheEngineAndTheServiceKnowNoTransport) {
  for (const Source& source : all_sources()) {
    const bool front =
        source.path.starts_with("server/") && !source.path.starts_with("server/service/");
    if (front || source.path.starts_with("tests/")) continue;
    for (const std::string& line : source.lines) {
      const std::string target = included(line);
      for (const char* transport : {"boost/asio", "boost/beast", "grpc", "google/protobuf"}) {
        EXPECT_FALSE(target.starts_with(transport)) << source.path << " includes " << target;
      }
    }
  }
}

TEST(Tidy, FilesAndLinesStayReadable) {
  for (const Source& source : all_sources()) {
    EXPECT_LE(source.lines.size(), 600u) << source.path;
    for (size_t i = 0; i < source.lines.size(); ++i) {
      EXPECT_LE(source.lines[i].size(), 110u) << source.path << ":" << i + 1;
    }
  }
}

// Words that product code does not use, and the field's words for them. Each word is a regex that
// matches anywhere in a line, in comments and in names.
struct HouseWord {
  const char* regex;
  const char* wanted;
};
constexpr HouseWord kHouseWords[] = {
    {"Product(Runner|Support)|product_support", "matmul"},
    {"\\b[Rr]ecordings?\\b", "graph"},
    {"\\b(set|wait_for)_mark\\b", "event"},
    {"\\b[Pp]rove([sdn]?\\b|_)|([_ ]|\\b)[Pp]roofs?\\b", "self-test"},
    {"\\bHead(Row|Result)\\b", "draw, or logits head"},
};

// Returns the text of the comment that begins on line `i`; empty if none begins there. A line of
// the same block that is not the first begins no comment, but one after an empty `//` does.
std::string begun_comment(const std::vector<std::string>& lines, size_t i) {
  static const std::regex kWhole("^\\s*// ?(---- )?(.*)$"), kEmpty("^\\s*//\\s*$");
  static const std::regex kTrailing("\\S\\s+// (.*)$");
  std::smatch match;
  if (std::regex_match(lines[i], match, kWhole)) {
    const bool goes_on =
        i > 0 && std::regex_match(lines[i - 1], kWhole) && !std::regex_match(lines[i - 1], kEmpty);
    return goes_on ? "" : match[2].str();
  }
  return std::regex_search(lines[i], match, kTrailing) ? match[1].str() : "";
}

// Returns the complaints about the words of a file, each as "LINE: what is wrong".
std::vector<std::string> complaints_about_words(const std::vector<std::string>& lines) {
  static const std::regex kNoSentence(
      "^(Of|What|As|Where|Whose|For those|Behind|That of|Those|Neither|None of|Not of) .*");
  static const std::vector<std::regex> kWords = [] {
    std::vector<std::regex> words;
    for (const HouseWord& word : kHouseWords) words.emplace_back(word.regex);
    return words;
  }();
  std::vector<std::string> complaints;
  for (size_t i = 0; i < lines.size(); ++i) {
    const std::string at = std::to_string(i + 1) + ": ";
    if (std::regex_match(begun_comment(lines, i), kNoSentence)) {
      complaints.push_back(at + "begin the comment with a subject and a verb: " + lines[i]);
    }
    for (size_t w = 0; w < kWords.size(); ++w) {
      if (!std::regex_search(lines[i], kWords[w])) continue;
      complaints.push_back(at + "the word is \"" + kHouseWords[w].wanted + "\": " + lines[i]);
    }
  }
  return complaints;
}

TEST(Tidy, WordsAreTheFields) {
  for (const Source& source : all_sources()) {
    const std::string& path = source.path;
    if (path.starts_with("tests/")) continue;
    for (const std::string& complaint : complaints_about_words(source.lines)) {
      ADD_FAILURE() << path << ":" << complaint;
    }
  }
}

TEST(Tidy, WrongWordsAreFound) {
  const auto count = [](const std::vector<std::string>& lines) {
    return complaints_about_words(lines).size();
  };
  EXPECT_EQ(count({"// Of the last step.", "// Returns the rows", "// What is done."}), 1u);
  EXPECT_EQ(count({"// Returns the rows.", "//", "// Where it begins."}), 1u);
  EXPECT_EQ(count({"  // ---- Those of a step", "int rows = 0;  // What is left"}), 2u);
  EXPECT_EQ(count({"int rows = 0;  // of a step", "// Whether so", "// Offsets of the rows"}), 0u);
  EXPECT_EQ(count({"ProductSupport s = product_support();", "bool prove_layer();"}), 2u);
  EXPECT_EQ(count({"#include \"kernels/layer_proof.h\"", "Recordings recordings_;"}), 2u);
  EXPECT_EQ(count({"set_mark();", "wait_for_mark();", "HeadRow row;", "HeadResult result;"}), 4u);
  EXPECT_EQ(count({"// It improves what was proven.", "// recorded, waterproofed, improve_it"}),
            1u);
}

TEST(Tidy, NothingIsLeftUnfinished) {
  const std::regex unfinished(std::string("\\b(TO") + "DO|FIX" + "ME|XX" + "X|HA" + "CK)\\b");
  for (const Source& source : all_sources()) {
    for (size_t i = 0; i < source.lines.size(); ++i) {
      EXPECT_FALSE(std::regex_search(source.lines[i], unfinished)) << source.path << ":" << i + 1;
    }
  }
}

TEST(Tidy, SourcesAreFormatted) {
  std::ostringstream command;
  command << "cd " DELTASERVE_ROOT " && clang-format --dry-run -Werror";
  for (const Source& source : all_sources()) command << " " << source.path;
  command << " 2>&1 | head -20";
  FILE* pipe = popen(command.str().c_str(), "r");
  ASSERT_NE(pipe, nullptr);
  std::string output;
  char buffer[512];
  while (fgets(buffer, sizeof buffer, pipe) != nullptr) output += buffer;
  pclose(pipe);
  EXPECT_EQ(output, "") << "run: clang-format -i FILE";
}

}  // namespace
