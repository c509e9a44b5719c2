// Checks the house rules that a program can check: layers include downward only, tests mirror the
// product's folders, files and lines stay readable, comments begin with a sentence, names are the
// field's, nothing is left unfinished.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "tests/tidy_sources.h"

namespace deltaserve::tidy {
namespace {

// Returns the files beside C++ in which we write comments: CMake, Python, shell, the page, tools'
// settings.
std::vector<Source> other_sources() {
  const auto is_commented = [](const fs::path& path) {
    const std::string extension = path.extension();
    for (const char* known : {".cmake", ".py", ".sh", ".css", ".js", ".inc", ".proto"}) {
      if (extension == known) return true;
    }
    return path.filename() == "CMakeLists.txt";
  };
  const fs::path root = DELTASERVE_ROOT;
  std::vector<Source> sources;
  for (const char* file : {"CMakeLists.txt", "run", "test", ".ci/run", ".clang-tidy",
                           ".clang-format", ".dockerignore", ".gitignore"}) {
    if (fs::exists(root / file)) sources.push_back(read_source(root / file));
  }
  for (const char* folder : {"kernels", "models", "engine", "server", "tests", "deploy", "proto"}) {
    for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
      if (entry.is_regular_file() && is_commented(entry.path())) {
        sources.push_back(read_source(entry.path()));
      }
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
      {"models/", {{"base"}, {"checkpoint"}, {"hub", "mapping", "tokenizer"}, {""}}},
      {"models/tokenizer/", {{"base"}, {"json"}, {"sentencepiece"}, {""}}},
      {"engine/", {{"base"}, {"reuse"}, {"step"}, {"sequence"}, {"grammar", "loop"}}},
      {"server/",
       {{"base", "template"},
        {"command_line", "net", "observe", "tools"},
        {"service"},
        {"openai", "grpc"},
        {"http"},
        {"commands"},
        {"loadgen"},
        {"chat"},
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

// Without "tests/": the path of the product that a file of tests mirrors.
std::string mirrored(const std::string& path) {
  const std::string tests = "tests/";
  return path.starts_with(tests) ? path.substr(tests.size()) : path;
}

bool mirrors_the_product(const std::string& path) {
  for (const char* layer : {"tests/kernels/", "tests/models/", "tests/engine/", "tests/server/"}) {
    if (path.starts_with(layer)) return true;
  }
  return false;
}

// Whether files of a floor may include those of its other folders.
enum class Neighbours { kHidden, kSeen };

// Returns the complaints about the includes of a file that stands at `path` of the product, inside
// the folders of `houses`.
std::vector<std::string> complaints_about_floors(const std::vector<Floors>& houses,
                                                 const std::string& path,
                                                 const std::vector<std::string>& includes,
                                                 Neighbours neighbours) {
  std::vector<std::string> complaints;
  for (const Floors& house : houses) {
    if (!path.starts_with(house.folder)) continue;
    const int own = floor_of(house, path);
    if (own < 0) complaints.push_back(std::string("lies on no floor of ") + house.folder);
    const int highest = neighbours == Neighbours::kSeen ? own : own - 1;
    for (const std::string& target : includes) {
      const bool inside = target.starts_with(house.folder) && floor_of(house, target) >= 0 &&
                          target.find('/') != std::string::npos;
      if (!inside || same_folder(house, path, target)) continue;
      if (floor_of(house, target) > highest) complaints.push_back("includes " + target);
    }
  }
  return complaints;
}

TEST(Tidy, FilesIncludeDownwardOnly) {
  for (const Source& source : all_sources()) {
    for (const std::string& complaint : complaints_about_floors(
             all_floors(), source.path, includes_of(source.lines), Neighbours::kHidden)) {
      ADD_FAILURE() << source.path << " " << complaint;
    }
  }
}

// Returns how many folders inside `folder` the headers come from.
size_t inner_folders(const std::string& folder, const std::vector<std::string>& includes) {
  std::set<std::string> inner;
  for (const std::string& target : includes) {
    if (!target.starts_with(folder + "/")) continue;
    const size_t end = target.find('/', folder.size() + 1);
    if (end != std::string::npos) inner.insert(target.substr(0, end));
  }
  return inner.size();
}

// Returns the complaints about the place of a file of tests that mirrors the product. A header that
// tests share keeps the floors of the folder that it mirrors. A test tests something of its folder,
// or several folders inside it, and nothing above; it may compare neighbours, for instance two
// backends, and use other layers.
std::vector<std::string> complaints_about_place(const std::string& path,
                                                std::vector<std::string> includes) {
  std::transform(includes.begin(), includes.end(), includes.begin(), mirrored);
  const std::string place = mirrored(path);
  if (path.ends_with(".h")) {
    return complaints_about_floors(all_floors(), place, includes, Neighbours::kHidden);
  }
  if (!path.ends_with("_test.cc")) return {};
  std::vector<Floors> layers = all_floors();
  std::erase_if(layers, [](const Floors& house) { return std::string(house.folder).empty(); });
  std::vector<std::string> complaints =
      complaints_about_floors(layers, place, includes, Neighbours::kSeen);
  const auto is_subject = [&](const std::string& target) {
    return target.find('/') != std::string::npos && folder_of(target) == folder_of(place);
  };
  if (std::none_of(includes.begin(), includes.end(), is_subject) &&
      inner_folders(folder_of(place), includes) < 2) {
    complaints.push_back("includes no header of " + folder_of(place));
  }
  return complaints;
}

TEST(Tidy, TestsLieWhereTheirSubjectsLie) {
  int tests = 0;
  for (const Source& source : all_sources()) {
    if (!mirrors_the_product(source.path)) continue;
    ++tests;
    const std::string folder = folder_of(mirrored(source.path));
    EXPECT_TRUE(fs::is_directory(fs::path(DELTASERVE_ROOT) / folder))
        << source.path << " mirrors " << folder << ", which does not exist";
    for (const std::string& complaint :
         complaints_about_place(source.path, includes_of(source.lines))) {
      ADD_FAILURE() << source.path << " " << complaint;
    }
  }
  EXPECT_GT(tests, 0);
}

TEST(Tidy, MisplacedTestsAreFound) {
  const auto count = [](const std::string& path, const std::vector<std::string>& includes) {
    return complaints_about_place(path, includes).size();
  };
  const std::string test = "tests/engine/sequence/sequence_test.cc";
  EXPECT_EQ(count(test, {"engine/sequence/sequence.h", "engine/base/limits.h"}), 0u);
  EXPECT_EQ(count(test, {"tests/engine/sequence/fake_runner.h", "server/http/reply.h"}), 0u);
  EXPECT_EQ(count(test, {"engine/sequence/sequence.h", "engine/loop/engine.h"}), 1u);
  EXPECT_EQ(count(test, {"engine/sequence/sequence.h", "tests/engine/loop/driver.h"}), 1u);
  EXPECT_EQ(count(test, {"engine/base/limits.h", "vector"}), 1u);
  EXPECT_EQ(count("tests/engine/attic/old_test.cc", {"engine/attic/old.h"}), 1u);
  const std::string both = "tests/models/tokenizer/both_test.cc";
  EXPECT_EQ(count(both, {"models/tokenizer/json/a.h", "models/tokenizer/sentencepiece/b.h"}), 0u);
  EXPECT_EQ(count(both, {"models/tokenizer/json/a.h", "models/tokenizer/json/b.h"}), 1u);
  const std::string neighbour = "kernels/cpu/draw/sample.h";
  EXPECT_EQ(count("tests/kernels/cuda/draw/draw_test.cc", {"kernels/cuda/draw/draw.h", neighbour}),
            0u);
  EXPECT_EQ(count("tests/kernels/cuda/draw/draws.h", {neighbour}), 1u);
  EXPECT_EQ(count("tests/engine/sequence/fake_runner.h", {"engine/step/step_runner.h"}), 0u);
  EXPECT_EQ(count("tests/engine/sequence/fake_runner.h", {"engine/loop/engine.h"}), 1u);
  EXPECT_EQ(count("tests/engine/sequence/fake_runner.h", {"server/base/sse.h"}), 1u);
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

// Returns whether a line of code names a mixer's enumerator or struct.
bool names_a_mixer(const std::string& line) {
  static const std::regex kName(
      "MixerKind::k|\\b(Gated)?LinearAttention\\b|\\bMamba2\\b|\\b(Gated)?DeltaNet2?\\b|"
      "\\bKimiDelta\\b|\\bQDelta(Released)?\\b|\\bPreconditioned<");
  static const std::regex kComment("//.*$"), kDefault("MixerKind kind = MixerKind::k\\w+;");
  return std::regex_search(std::regex_replace(std::regex_replace(line, kComment, ""), kDefault, ""),
                           kName);
}

// All others ask a mixer for its traits.
TEST(Tidy, OnlyMixersAndMappingsNameMixers) {
  for (const Source& source : all_sources()) {
    const std::string& path = source.path;
    if (path.starts_with("tests/") || path.starts_with("kernels/mixer/")) continue;
    if (path.starts_with("models/mapping/")) continue;
    for (const std::string& line : source.lines) EXPECT_FALSE(names_a_mixer(line)) << path << line;
  }
  EXPECT_TRUE(names_a_mixer("  if (shape.kind == MixerKind::kMamba2) return;"));
  EXPECT_TRUE(names_a_mixer("using Erasing = std::conditional_t<kX, QDelta, Other>;"));
  EXPECT_FALSE(names_a_mixer("  MixerKind kind = MixerKind::kQDelta;  // of DeltaNet"));
  EXPECT_FALSE(names_a_mixer("  launch(erases_query(shape.kind));"));
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

// Returns the classes that a header defines at the top of a namespace, with it.
std::vector<std::string> classes_of(const std::vector<std::string>& lines) {
  static const std::regex kNamespace("^namespace ([\\w:]+) \\{.*");
  static const std::regex kClass(
      "^(?:class|struct|enum class) (\\w+)(?: final)?(?: : [^;]*)? \\{.*");
  std::string space;
  std::vector<std::string> classes;
  for (const std::string& line : lines) {
    std::smatch match;
    if (std::regex_match(line, match, kNamespace)) space = match[1];
    if (std::regex_match(line, match, kClass)) classes.push_back(space + "::" + match[1].str());
  }
  return classes;
}

// The linker keeps one of the functions of two classes with one name, for both.
TEST(Tidy, NoTwoClassesHaveOneName) {
  std::map<std::string, std::string> header_of;
  for (const Source& source : all_sources()) {
    const std::string& path = source.path;
    // The emulation of a GPU stands in for the real one and is never beside it.
    if (!path.ends_with(".h") || path.starts_with("tests/") ||
        path.ends_with("cuda/device/simt_host.h")) {
      continue;
    }
    for (const std::string& name : classes_of(source.lines)) {
      const auto [known, is_new] = header_of.emplace(name, path);
      EXPECT_TRUE(is_new) << path << " and " << known->second << " define " << name;
    }
  }
  EXPECT_GT(header_of.size(), 200u);
  const std::vector<std::string> lines = {"namespace a::b {", "class C final : public D {",
                                          "struct E {};",     "struct F;",
                                          "  struct G {",     "enum class H : uint8_t {"};
  EXPECT_EQ(classes_of(lines), (std::vector<std::string>{"a::b::C", "a::b::E", "a::b::H"}));
}

TEST(Tidy, FilesAndLinesStayReadable) {
  for (const Source& source : all_sources()) {
    EXPECT_LE(source.lines.size(), 600u) << source.path;
    for (size_t i = 0; i < source.lines.size(); ++i) {
      EXPECT_LE(source.lines[i].size(), 110u) << source.path << ":" << i + 1;
    }
  }
}

// Words that our code does not use, and the field's words for them. Each word is a regex that
// matches anywhere in a line, in comments and in names.
struct HouseWord {
  const char* regex;
  const char* wanted;
};
constexpr HouseWord kHouseWords[] = {
    {"Product(Runner|Support)|product_support|\\bclass Product\\b|MatmulKernels products\\b",
     "matmul"},
    {"\\b[Rr]ecordings?(_|\\b)", "graph"},
    {"\\b(set|wait_for)_mark\\b|\\bmark_\\w*transfers?\\b|[Tt]ransfer_?[Mm]arks?\\b|uts a mark\\b",
     "event"},
    {"\\b[Pp]rove([sdn]?\\b|_)|([_ ]|\\b)[Pp]roofs?\\b", "self-test"},
    {"\\b(Device)?Head(Row|Result)\\b|TEST\\w*\\(Head,", "draw, or logits head"},
    {"LogitsHead head_|\\b(tied|own|output) head\\b", "logits head"},
};

// Returns the text of the comment that begins on line `i`; empty if none begins there. A line of
// the same block that is not the first begins no comment, but one after an empty `//` does.
std::string begun_comment(const std::vector<std::string>& lines, size_t i) {
  static const std::regex kWhole("^\\s*(//|#(?![a-z!])) ?(---- )?(.*)$"),
      kEmpty("^\\s*(//|#)\\s*$");
  static const std::regex kTrailing("\\S\\s+// (.*)$");
  static const std::regex kOpened("^\\s*(?:/\\*|\"\"\") ?(.*)$");  // of CSS, a docstring of Python
  std::smatch match;
  if (std::regex_match(lines[i], match, kWhole)) {
    const bool goes_on =
        i > 0 && std::regex_match(lines[i - 1], kWhole) && !std::regex_match(lines[i - 1], kEmpty);
    return goes_on ? "" : match[3].str();
  }
  if (std::regex_match(lines[i], match, kOpened)) return match[1].str();
  return std::regex_search(lines[i], match, kTrailing) ? match[1].str() : "";
}

// Returns false for most lines without a comment, because the regexes above are slow.
bool may_have_comment(const std::string& line) {
  for (const char* mark : {"//", "/*", "\"\"\""}) {
    if (line.find(mark) != std::string::npos) return true;
  }
  const size_t first = line.find_first_not_of(' ');
  return first != std::string::npos && line[first] == '#';
}

// Returns the complaints about the beginnings of a file's comments, each as "LINE: what is wrong".
std::vector<std::string> complaints_about_beginnings(const std::vector<std::string>& lines) {
  static const std::regex kNoSentence(
      "^(Of|What|As|Where|Whose|For those|Behind|That of|Those|Neither|None of|Not of) .*");
  // A result and a colon stand in the place of "Returns false if".
  static const std::regex kResult(
      "^\\s*(//|#|\"\"\") ?(.*[.] )?(False|True|Null|None|nullopt|[A-Z]+_[A-Z_]+): [^A-Z].*");
  std::vector<std::string> complaints;
  for (size_t i = 0; i < lines.size(); ++i) {
    if (!may_have_comment(lines[i])) continue;
    if (std::regex_match(begun_comment(lines, i), kNoSentence) ||
        std::regex_match(lines[i], kResult)) {
      complaints.push_back(std::to_string(i + 1) +
                           ": begin the comment with a subject and a verb: " + lines[i]);
    }
  }
  return complaints;
}

// Returns the complaints about the words of a file, each as "LINE: what is wrong".
std::vector<std::string> complaints_about_words(const std::vector<std::string>& lines) {
  static const std::vector<std::regex> kWords = [] {
    std::vector<std::regex> words;
    for (const HouseWord& word : kHouseWords) words.emplace_back(word.regex);
    return words;
  }();
  std::vector<std::string> complaints;
  for (size_t i = 0; i < lines.size(); ++i) {
    const std::string at = std::to_string(i + 1) + ": ";
    for (size_t w = 0; w < kWords.size(); ++w) {
      if (!std::regex_search(lines[i], kWords[w])) continue;
      complaints.push_back(at + "the word is \"" + kHouseWords[w].wanted + "\": " + lines[i]);
    }
  }
  return complaints;
}

TEST(Tidy, WordsAreTheFields) {
  std::vector<Source> sources = all_sources();
  // The strings of this file are such words.
  std::erase_if(sources, [](const Source& source) { return source.path == "tests/tidy_test.cc"; });
  for (const char* page : {"README.md", "CONTRIBUTING.md", "BENCHMARKS.md", "kernels/README.md"}) {
    sources.push_back(read_source(fs::path(DELTASERVE_ROOT) / page));
  }
  for (const Source& source : sources) {
    for (const std::string& complaint : complaints_about_words(source.lines)) {
      ADD_FAILURE() << source.path << ":" << complaint;
    }
  }
}

TEST(Tidy, CommentsBeginWithASentence) {
  std::vector<Source> sources = all_sources();
  const std::vector<Source> others = other_sources();
  EXPECT_GT(sources.size(), 500u);
  EXPECT_GT(others.size(), 100u);
  sources.insert(sources.end(), others.begin(), others.end());
  // The strings of this file are such comments.
  std::erase_if(sources, [](const Source& source) { return source.path == "tests/tidy_test.cc"; });
  for (const Source& source : sources) {
    for (const std::string& complaint : complaints_about_beginnings(source.lines)) {
      ADD_FAILURE() << source.path << ":" << complaint;
    }
  }
}

TEST(Tidy, WrongWordsAreFound) {
  const auto count = [](const std::vector<std::string>& lines) {
    return complaints_about_words(lines).size() + complaints_about_beginnings(lines).size();
  };
  EXPECT_EQ(count({"// Of the last step.", "// Returns the rows", "// What is done."}), 1u);
  EXPECT_EQ(count({"// Returns the rows.", "//", "// Where it begins."}), 1u);
  EXPECT_EQ(count({"  // ---- Those of a step", "int rows = 0;  // What is left"}), 2u);
  EXPECT_EQ(count({"int rows = 0;  // of a step", "// Whether so", "// Offsets of the rows"}), 0u);
  EXPECT_EQ(count({"ProductSupport s = product_support();", "bool prove_layer();"}), 2u);
  EXPECT_EQ(count({"class Product : public Test {", "TEST(Head, Draws) {", "TEST(Product, Is)"}),
            2u);
  EXPECT_EQ(count({"#include \"kernels/layer_proof.h\"", "Recordings recordings_;"}), 2u);
  EXPECT_EQ(count({"# What is left.", "  \"\"\"Where it is.\"\"\"", "/* Of a page. */"}), 3u);
  EXPECT_EQ(count({"# Of one block", "# and of the next", "#", "# Those of it", "x = 1  # Of it"}),
            2u);
  EXPECT_EQ(count({"// False: it ended.", "// Waits. NOT_FOUND: there is none.", "// A: b"}), 2u);
  EXPECT_EQ(count({"int x;  // nullopt: none", "// Returns x; nullopt: none."}), 0u);
  EXPECT_EQ(count({"bool recording_;", "mark_transfers(3);", "kTransferMarks", "// Puts a mark"}),
            4u);
  EXPECT_EQ(count({"The model has a tied head.", "LogitsHead head_;", "int head_;"}), 2u);
  EXPECT_EQ(count({"set_mark();", "wait_for_mark();", "HeadRow row;", "HeadResult result;"}), 4u);
  EXPECT_EQ(count({"// It improves what was proven.", "// recorded, waterproofed, improve_it"}),
            1u);
}

// Returns the paths of sources and scripts that a page names in backticks, with their folders.
std::vector<std::string> named_files(const std::string& page) {
  static const std::regex kPath(
      "`([A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)+\\.(cc|h|py|sh|cmake|proto|md))`");
  std::vector<std::string> paths;
  for (std::sregex_iterator it(page.begin(), page.end(), kPath), end; it != end; ++it) {
    const std::string path = (*it)[1].str();
    if (path.find("/X_") == std::string::npos) paths.push_back(path);  // X stands for any name
  }
  return paths;
}

TEST(Tidy, PagesNameFilesThatExist) {
  const fs::path root = DELTASERVE_ROOT;
  std::vector<fs::path> pages = {root / "README.md", root / "CONTRIBUTING.md",
                                 root / "BENCHMARKS.md"};
  for (const char* folder : {"kernels", "models", "engine", "server", "tests", "deploy"}) {
    for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
      if (entry.path().extension() == ".md") pages.push_back(entry.path());
    }
  }
  for (const fs::path& page : pages) {
    std::ifstream file(page);
    std::ostringstream text;
    text << file.rdbuf();
    for (const std::string& path : named_files(text.str())) {
      EXPECT_TRUE(fs::exists(root / path) || fs::exists(page.parent_path() / path))
          << page << " names " << path;
    }
  }
  EXPECT_EQ(named_files("`a/b.cc`, `server/X_api.h` and `c.h`"),
            std::vector<std::string>{"a/b.cc"});
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
}  // namespace deltaserve::tidy
