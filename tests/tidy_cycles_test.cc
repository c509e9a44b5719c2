// Checks that no includes lead from a folder of the product back to it. The floors of tidy_test.cc
// say which folders may include which; this test also sees folders that have no floors.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "tests/tidy_sources.h"

namespace deltaserve::tidy {
namespace {

// The folders that files of a folder include, each with an include that says so.
using FolderGraph = std::map<std::string, std::map<std::string, std::string>>;

// Adds the includes of a file to the graph. `known` are all folders that have files of ours.
void add_includes(const std::string& path, const std::vector<std::string>& includes,
                  const std::set<std::string>& known, FolderGraph* graph) {
  const std::string folder = folder_of(path);
  for (const std::string& target : includes) {
    // A path that does not begin at the root begins at the file.
    std::string to = folder_of(target);
    if (!known.contains(to)) to = folder_of((fs::path(folder) / target).lexically_normal());
    if (known.contains(to) && to != folder) {
      (*graph)[folder].emplace(to, path + " includes " + target);
    }
  }
}

// Returns the includes that lead from the last folder of `way` back to one of `way`, which is
// extended; empty if there are none. `done` are folders from which no way leads back.
std::string find_cycle(const FolderGraph& graph, std::vector<std::string>* way,
                       std::set<std::string>* done) {
  const std::string folder = way->back();
  const auto targets = graph.find(folder);
  if (done->contains(folder) || targets == graph.end()) return "";
  for (const auto& [to, why] : targets->second) {
    const auto begin = std::find(way->begin(), way->end(), to);
    if (begin != way->end()) {
      std::string cycle;
      for (auto from = begin; from + 1 != way->end(); ++from) {
        cycle += graph.at(*from).at(*(from + 1)) + "; ";
      }
      return cycle + why;
    }
    way->push_back(to);
    if (std::string cycle = find_cycle(graph, way, done); !cycle.empty()) return cycle;
    way->pop_back();
  }
  done->insert(folder);
  return "";
}

// Returns the includes of one cycle between folders; empty if there is none.
std::string find_cycle(const FolderGraph& graph) {
  std::set<std::string> done;
  for (const auto& [folder, targets] : graph) {
    std::vector<std::string> way = {folder};
    if (std::string cycle = find_cycle(graph, &way, &done); !cycle.empty()) return cycle;
  }
  return "";
}

TEST(Tidy, NoFoldersIncludeEachOther) {
  const std::vector<Source> sources = all_sources();
  std::set<std::string> known;
  for (const Source& source : sources) {
    if (!source.path.starts_with("tests/")) known.insert(folder_of(source.path));
  }
  FolderGraph graph;
  for (const Source& source : sources) {
    if (source.path.starts_with("tests/")) continue;
    add_includes(source.path, includes_of(source.lines), known, &graph);
  }
  EXPECT_GT(graph.size(), 20u);
  EXPECT_EQ(find_cycle(graph), "");
}

TEST(Tidy, CyclesBetweenFoldersAreFound) {
  const std::set<std::string> known = {"a", "a/in", "a/in/deep", "b", "c"};
  const auto found = [&](const std::map<std::string, std::vector<std::string>>& files) {
    FolderGraph graph;
    for (const auto& [path, includes] : files) add_includes(path, includes, known, &graph);
    return find_cycle(graph);
  };
  EXPECT_EQ(found({{"a/x.cc", {"a/in/y.h", "vector", "c/z.h"}}, {"a/in/y.h", {"c/z.h"}}}), "");
  EXPECT_EQ(found({{"a/x.cc", {"a/in/y.h"}}, {"a/in/z.h", {"a/w.h"}}}),
            "a/x.cc includes a/in/y.h; a/in/z.h includes a/w.h");
  EXPECT_EQ(found({{"a/x.cc", {"b/y.h"}}, {"b/y.h", {"c/z.h"}}, {"c/z.cc", {"b/y.h"}}}),
            "b/y.h includes c/z.h; c/z.cc includes b/y.h");
  EXPECT_EQ(
      found({{"b/y.h", {"c/z.h"}}, {"c/z.h", {"a/in/deep/v.h"}}, {"a/in/deep/v.cc", {"b/y.h"}}}),
      "a/in/deep/v.cc includes b/y.h; b/y.h includes c/z.h; c/z.h includes a/in/deep/v.h");
  EXPECT_EQ(found({{"a/x.cc", {"in/y.h"}}, {"a/in/y.h", {"../w.h"}}}),
            "a/x.cc includes in/y.h; a/in/y.h includes ../w.h");
}

}  // namespace
}  // namespace deltaserve::tidy
