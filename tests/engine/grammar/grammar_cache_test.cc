// Tests the cache of compiled grammars: what it keeps, what it drops, and which thread compiles.
#include "engine/grammar/grammar_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <new>
#include <thread>

#include "engine/grammar/compiled_grammar.h"
#include "tests/engine/grammar/grammar_test_util.h"

namespace deltaserve {
namespace {

using testing::HasSubstr;

constexpr GrammarCacheLimits kRoomy{16, 64 << 20, 64 << 20};

GrammarCache cache_of(GrammarCacheLimits limits) {
  return GrammarCache(table_of(test_tokens({"ab", "abc", "bc"})), limits);
}

// Gets the regex `key` itself.
CompiledOr get(GrammarCache* cache, const std::string& key) {
  return cache->get(key, [&](const auto& memory) { return compile_regex(key, memory); });
}

// Returns true if `key` is kept. Such a failure is not, so that asking changes only the order.
bool keeps(GrammarCache* cache, const std::string& key) {
  return cache->get(key, [](const auto&) { return absl::NotFoundError(""); }).ok();
}

TEST(GrammarCache, CompilesOnce) {
  GrammarCache cache = cache_of(kRoomy);
  const CompiledOr first = get(&cache, "[ab]+");
  const CompiledOr second = get(&cache, "[ab]+");
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ(*first, *second);
  EXPECT_NE(*get(&cache, "[ab]*"), *first);
  const GrammarCacheStats stats = cache.stats();
  EXPECT_EQ(stats.hits, 1u);
  EXPECT_EQ(stats.misses, 2u);
  EXPECT_EQ(stats.evictions, 0u);
  EXPECT_EQ(stats.grammars, 2u);
}

TEST(GrammarCache, RefusalsAreRemembered) {
  GrammarCache cache = cache_of(kRoomy);
  EXPECT_FALSE(cache.knows("(a"));
  for (int i = 0; i < 2; ++i) EXPECT_THAT(error_of(get(&cache, "(a")), HasSubstr("at byte"));
  EXPECT_TRUE(cache.knows("(a"));
  EXPECT_EQ(cache.stats().misses, 1u);
  EXPECT_EQ(cache.stats().grammars, 0u);
  EXPECT_EQ(cache.stats().bytes, 0u);
}

TEST(GrammarCache, TheOldestRefusalsGo) {
  GrammarCacheLimits limits = kRoomy;
  limits.refusals = 3;
  limits.refusal_bytes = 1000;
  GrammarCache cache = cache_of(limits);
  ASSERT_TRUE(get(&cache, "[ab]").ok());
  for (const char* bad : {"(a", "(b", "(c", "(d"}) EXPECT_FALSE(get(&cache, bad).ok());
  EXPECT_FALSE(cache.knows("(a"));
  for (const char* bad : {"(b", "(c", "(d"}) EXPECT_TRUE(cache.knows(bad)) << bad;
  const std::string long_one = "(" + std::string(900, 'a');
  EXPECT_FALSE(get(&cache, long_one).ok());
  EXPECT_TRUE(cache.knows(long_one));
  EXPECT_FALSE(cache.knows("(b"));
  EXPECT_FALSE(get(&cache, "(" + std::string(1000, 'a')).ok());
  EXPECT_FALSE(cache.knows("(" + std::string(1000, 'a')));
  EXPECT_TRUE(cache.knows("[ab]"));  // they push out no grammar
}

TEST(GrammarCache, OtherFailuresAreNotRemembered) {
  GrammarCache cache = cache_of(kRoomy);
  EXPECT_FALSE(cache.get("ab", [](const auto&) { return absl::UnavailableError(""); }).ok());
  EXPECT_FALSE(cache.knows("ab"));
  EXPECT_TRUE(get(&cache, "ab").ok());
}

TEST(GrammarCache, AnExceptionEndsTheFlight) {
  GrammarCache cache = cache_of(kRoomy);
  const auto fail = [](const auto&) -> CompiledOr { throw std::bad_alloc(); };
  EXPECT_THROW((void)cache.get("a", fail), std::bad_alloc);
  EXPECT_TRUE(get(&cache, "a").ok());
}

TEST(GrammarCache, WhatWasUsedLongestAgoGoesFirst) {
  GrammarCache cache = cache_of({2, 64 << 20, 64 << 20});
  const CompiledOr a = get(&cache, "a");
  ASSERT_TRUE(a.ok() && get(&cache, "b").ok());
  ASSERT_EQ(*get(&cache, "a"), *a);
  ASSERT_TRUE(get(&cache, "c").ok());
  EXPECT_TRUE(keeps(&cache, "a"));
  EXPECT_FALSE(keeps(&cache, "b"));
  EXPECT_TRUE(keeps(&cache, "c"));
  EXPECT_EQ(cache.stats().evictions, 1u);
}

// The masks of a grammar in use are made later; they count when the next grammar is kept.
TEST(GrammarCache, MasksCountAsBytes) {
  GrammarCache probe = cache_of(kRoomy);
  const size_t each = (*get(&probe, "a{4}"))->bytes();
  GrammarCache cache = cache_of({16, 3 * each, 64 << 20});
  const CompiledOr a = get(&cache, "a{4}");
  ASSERT_TRUE(a.ok() && get(&cache, "b{4}").ok());
  EXPECT_EQ(cache.stats().evictions, 0u);
  for (Walk walk(a, cache.table()); (*a)->bytes() == each;) walk.accept(walk.allowed_tokens()[0]);
  EXPECT_EQ(cache.stats().bytes, 2 * each + (*a)->bytes() - each);
  ASSERT_TRUE(get(&cache, "c{4}").ok());
  EXPECT_FALSE(keeps(&cache, "a{4}"));
  EXPECT_TRUE(keeps(&cache, "c{4}"));
}

TEST(GrammarCache, MemoryComesBackWithTheLastUser) {
  GrammarCache cache = cache_of({1, 64 << 20, 64 << 20});
  {
    const CompiledOr a = get(&cache, "a");
    const Walk walk(a, cache.table());
    ASSERT_TRUE(get(&cache, "b").ok());
    EXPECT_GT(cache.stats().bytes, (*a)->bytes());
  }
  EXPECT_EQ(cache.stats().bytes, (*get(&cache, "b"))->bytes());
}

TEST(GrammarCache, NoRoomForGrammarsInUse) {
  GrammarCache probe = cache_of(kRoomy);
  const size_t each = (*get(&probe, "a"))->bytes();
  GrammarCache cache = cache_of({1, 64 << 20, each + each / 2});
  CompiledOr a = get(&cache, "a");
  ASSERT_TRUE(a.ok());
  // There is no room for the mask, but it is right.
  Walk walk(a, cache.table());
  EXPECT_THAT(walk.allowed_tokens(), testing::Contains(1 + 'a'));
  const absl::Status refused = get(&cache, "b").status();
  EXPECT_TRUE(absl::IsUnavailable(refused)) << refused;
}

TEST(GrammarCache, ConcurrentRequestsCompileOnceAndShareMasks) {
  GrammarCache cache = cache_of(kRoomy);
  std::atomic<int> arrived = 0, compiled = 0;
  constexpr int kThreads = 6;
  const auto compile = [&](const auto& memory) {
    ++compiled;
    while (arrived < kThreads) std::this_thread::yield();
    return compile_regex("(ab|bc)*a", memory);
  };
  std::vector<std::thread> threads;
  std::vector<CompiledOr> results(kThreads, absl::UnknownError(""));
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      ++arrived;
      results[i] = cache.get("key", compile);
      Walk walk(results[i], cache.table());
      for (int token = 0; token < 20; ++token) walk.accept(walk.allowed_tokens().back());
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(compiled, 1);
  for (const CompiledOr& result : results) {
    ASSERT_TRUE(result.ok());
    EXPECT_EQ(*result, *results[0]);
  }
  EXPECT_EQ(cache.stats().hits, kThreads - 1u);
  EXPECT_EQ(cache.stats().misses, 1u);
  EXPECT_EQ(cache.stats().bytes, (*results[0])->bytes());
}

TEST(GrammarCache, ThreadsWithManyKeys) {
  GrammarCache cache = cache_of({3, 64 << 20, 64 << 20});
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < 60; ++round) {
        const std::string key = "[ab]{" + std::to_string(1 + (round * (i + 1)) % 7) + "}";
        Walk walk(get(&cache, key), cache.table());
        walk.accept(walk.allowed_tokens()[0]);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(cache.stats().hits + cache.stats().misses, 240u);
  EXPECT_LE(cache.stats().grammars, 3u);
}

}  // namespace
}  // namespace deltaserve
