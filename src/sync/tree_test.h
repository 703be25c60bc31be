#pragma once

// A folder of files for one test, and what a scan of it finds.

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <map>
#include <string>
#include <string_view>
#include <unistd.h>
#include <vector>

#include "sync/scan.h"

namespace rh::sync {

class TreeTest : public ::testing::Test {
protected:
    explicit TreeTest(const std::filesystem::path& where = std::filesystem::temp_directory_path()) {
        std::string made = (where / "rh-sync-XXXXXX").string();
        outside_ = std::filesystem::canonical(::mkdtemp(made.data())).string();
        root_ = outside_ + "/project";
        std::filesystem::create_directory(root_);
        options_.root = root_;
    }
    ~TreeTest() override { std::filesystem::remove_all(outside_); }

    std::string path(std::string_view name) const { return root_ + "/" + std::string(name); }

    void write(std::string_view name, std::string_view text = "x") const {
        const std::filesystem::path file = path(name);
        std::filesystem::create_directories(file.parent_path());
        std::ofstream(file, std::ios::binary) << text;
    }
    void link(std::string_view name, const std::string& target) const {
        std::filesystem::create_directories(std::filesystem::path(path(name)).parent_path());
        ASSERT_EQ(::symlink(target.c_str(), path(name).c_str()), 0);
    }

    Scanned scanned() const {
        Result<Scanned> result = scan(options_);
        EXPECT_TRUE(result) << result.error().message;
        return result ? std::move(*result) : Scanned{};
    }
    static std::vector<std::string> paths(const Scanned& of) {
        std::vector<std::string> names;
        for (const Entry& entry : of.manifest.entries) names.push_back(entry.path);
        return names;
    }
    static std::map<std::string, std::string> left_out(const Scanned& of) {
        std::map<std::string, std::string> reasons;
        for (const LeftOut& each : of.left_out) reasons[each.path] = each.why;
        return reasons;
    }
    static const Entry* entry(const Scanned& of, std::string_view name) {
        for (const Entry& each : of.manifest.entries) {
            if (each.path == name) return &each;
        }
        return nullptr;
    }

    using Names = std::vector<std::string>;
    std::string outside_;  // what the root stands in
    std::string root_;
    ScanOptions options_;
};

}  // namespace rh::sync
