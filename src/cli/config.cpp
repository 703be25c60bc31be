// `roundhouse config`: this user's settings on this machine, the same as rh.configs in Python.

#include <fmt/format.h>

#include "cli/arguments.h"
#include "cli/nouns.h"
#include "cli/screen.h"
#include "launch/state_base.h"
#include "registry/registry.h"

namespace rh::cli {

namespace {

Result<registry::Registry> open_registry() {
    RH_TRY(const std::string base, launch::state_base());
    return registry::Registry(base + "/registry.db");
}

Json value_of(const std::string& text) {
    Json value = Json::parse(text, nullptr, false);
    return value.is_discarded() ? Json(text) : value;
}

Result<void> show(const std::string& key, Context& context) {
    RH_TRY(const registry::Registry registry, open_registry());
    RH_TRY(const auto settings, registry.settings());
    if (!key.empty()) {
        const auto found = settings.find(key);
        if (found == settings.end()) {
            std::vector<std::string> names;
            for (const auto& [name, value] : settings) names.push_back(name);
            const std::string close = nearest(key, names);
            return fail(Code::not_found, fmt::format("the setting {} is not set{}", key, close.empty() ? "" : fmt::format(". Did you mean {}?", close)));
        }
        context.screen.json(value_of(found->second));
        return {};
    }
    Json all = Json::object();
    for (const auto& [name, value] : settings) all[name] = value_of(value);
    if (context.json) {
        context.screen.json(all);
    } else if (all.empty()) {
        context.screen.out("nothing is set. Try: roundhouse config set KEY VALUE\n");
    } else {
        std::vector<std::vector<std::string>> rows;
        for (const auto& [name, value] : settings) rows.push_back({name, value});
        context.screen.table({"KEY", "VALUE"}, rows);
    }
    return {};
}

Run declare_show(Options& options) {
    const auto key = std::make_shared<std::string>();
    options.positional("KEY", *key, "that one alone", false);
    return [key](Context& context) { return show(*key, context); };
}

struct Setting {
    std::string key, value;
};

Result<void> set(const Setting& setting, Context& context) {
    RH_TRY(const registry::Registry registry, open_registry());
    RH_TRY(const std::string text, dump(value_of(setting.value)));
    RH_TRY_VOID(registry.change_settings({{setting.key, text}}));
    if (context.json) context.screen.json({{setting.key, value_of(setting.value)}});
    return {};
}

Run declare_set(Options& options) {
    const auto wanted = std::make_shared<Setting>();
    options.positional("KEY", wanted->key, "the setting");
    options.positional("VALUE", wanted->value, "JSON, or else a text");
    return [wanted](Context& context) { return set(*wanted, context); };
}

Run declare_unset(Options& options) {
    const auto key = std::make_shared<std::string>();
    options.positional("KEY", *key, "the setting");
    return [key](Context& context) -> Result<void> {
        RH_TRY(const registry::Registry registry, open_registry());
        RH_TRY_VOID(registry.change_settings({{*key, std::nullopt}}));
        if (context.json) context.screen.json({{*key, nullptr}});
        return {};
    };
}

}  // namespace

std::span<const Command> config_commands() {
    static constexpr Command k_commands[] = {
        {"config", "[KEY]", "this user's settings", "The same as rh.configs in Python. They hold no secrets.", "roundhouse config default_provider", declare_show},
        {"config set", "KEY VALUE", "keep a setting", "", "roundhouse config set default_provider kubernetes", declare_set},
        {"config unset", "KEY", "forget a setting", "", "roundhouse config unset default_provider", declare_unset},
    };
    return k_commands;
}

}  // namespace rh::cli
