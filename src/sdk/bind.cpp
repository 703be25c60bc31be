// How arguments find their parameters (roundhouse/bind.h).

#include "roundhouse/bind.h"

#include "roundhouse/fields.h"
#include "sdk/json.h"

namespace roundhouse::detail {

namespace {

std::string quoted(const std::string& name) { return '"' + name + '"'; }

std::string counted(std::size_t count) { return std::to_string(count) + (count == 1 ? " argument" : " arguments"); }

std::string names_of(const std::vector<Parameter>& parameters) {
    std::string names;
    for (const Parameter& parameter : parameters) {
        if (!parameter.name.empty()) names += (names.empty() ? "" : ", ") + parameter.name;
    }
    return names.empty() ? "its parameters have no names" : "it has: " + names;
}

}  // namespace

std::vector<Parameter> name_parameters(std::vector<Parameter> parameters, const Params& names) {
    if (names.size() > parameters.size())
        throw Failure({"bad_arguments", std::to_string(names.size()) + " names are given for a function of " + counted(parameters.size()) + ", the last of them " +
                                            quoted((names.end() - 1)->name())});
    std::size_t index = 0;
    for (const Param& name : names) {
        parameters[index].name = name.name();
        parameters[index].fallback = name.fallback();
        ++index;
    }
    return parameters;
}

Result<std::vector<const Value*>> place(const Arguments& arguments, const std::vector<Parameter>& parameters) {
    const std::size_t given = arguments.positional.size();
    if (given > parameters.size()) return Error{"bad_arguments", "takes " + counted(parameters.size()) + ", got " + std::to_string(given)};
    std::vector<const Value*> values(parameters.size(), nullptr);
    for (std::size_t index = 0; index < given; ++index) values[index] = &arguments.positional[index];
    for (const auto& [name, value] : arguments.named) {
        std::size_t index = 0;
        while (index < parameters.size() && (parameters[index].name.empty() || parameters[index].name != name)) ++index;
        if (index == parameters.size()) return Error{"bad_arguments", "has no parameter " + quoted(name) + " (" + names_of(parameters) + ")"};
        if (values[index] != nullptr) return Error{"bad_arguments", "got the argument " + quoted(name) + " twice, by place and by name"};
        values[index] = &value;
    }
    for (std::size_t index = 0; index < parameters.size(); ++index) {
        if (values[index] != nullptr) continue;
        if (parameters[index].fallback) {
            values[index] = &*parameters[index].fallback;
            continue;
        }
        const std::string& name = parameters[index].name;
        return Error{"bad_arguments", "takes " + counted(parameters.size()) + ", got " + std::to_string(given + arguments.named.size()) +
                                          (name.empty() ? "" : ": the argument " + quoted(name) + " is missing")};
    }
    return values;
}

Error in_argument(Error error, std::size_t index, const std::string& name) {
    return within(std::move(error), "argument " + (name.empty() ? std::to_string(index + 1) : quoted(name)));
}

Value reread(const Value& value) {
    if (value.is<List>()) {
        List list;
        for (const Value& element : value.get<List>()) list.push_back(reread(element));
        return list;
    }
    if (!value.is<std::string>()) return value;
    const std::string& text = value.get<std::string>();
    if (text == "True" || text == "False") return text == "True";
    if (text == "None" || text.empty()) return nullptr;
    Result<Value> read = rh::value_from_json(text, {});
    return read ? std::move(*read) : value;
}

Error unknown_field(const std::string& key, const std::string& known) { return {"bad_arguments", "there is no field " + quoted(key) + " (there are: " + known + ")"}; }

}  // namespace roundhouse::detail
