#include "daemon/worker_memory.h"

#include <fmt/format.h>

#include <array>
#include <chrono>
#include <string_view>

namespace rh::daemon {

std::string size_text(std::uint64_t bytes) {
    constexpr std::array<std::string_view, 5> k_units = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    double amount = static_cast<double>(bytes);
    std::size_t unit = 0;
    while (amount >= 1024 && unit + 1 < k_units.size()) {
        amount /= 1024;
        ++unit;
    }
    return fmt::format("{:.4g} {}", amount, k_units[unit]);
}

std::string memory_words(const process::MemoryFacts& facts) {
    std::string words = "the machine had no memory left";
    if (facts.enforced_by == process::Enforcer::kernel) {
        if (facts.limit_bytes != 0) words = fmt::format("what is around this node may have {}", size_text(facts.limit_bytes));
    } else if (facts.is_node_limit) {
        words = fmt::format("the workers of this node may have {} together", size_text(facts.limit_bytes));
    } else {
        words = fmt::format("it may have {}", size_text(facts.limit_bytes));
    }
    if (facts.growth_ms != 0 && facts.growth_bytes != 0)
        words += fmt::format(", and it had grown by {} within {:.1f} s", size_text(facts.growth_bytes), static_cast<double>(facts.growth_ms) / 1000);
    return fmt::format("{}; give it {} or more", words, size_text(isolate::suggest_memory(facts)));
}

void add_memory_facts(Error& error, const process::MemoryFacts& facts) {
    const auto add = [&](std::string key, std::string value) { error.context.emplace_back(std::move(key), std::move(value)); };
    add("enforced_by", std::string(process::enforcer_name(facts.enforced_by)));
    if (facts.limit_bytes != 0) {
        add("limit", std::to_string(facts.limit_bytes));
        add("limit_of", facts.enforced_by == process::Enforcer::kernel ? "machine" : facts.is_node_limit ? "node" : "worker");
    }
    if (facts.growth_ms != 0) {
        add("growth", std::to_string(facts.growth_bytes));
        add("growth_s", fmt::format("{:.3f}", static_cast<double>(facts.growth_ms) / 1000));
    }
    add("suggested_memory", std::to_string(isolate::suggest_memory(facts)));
}

}  // namespace rh::daemon
