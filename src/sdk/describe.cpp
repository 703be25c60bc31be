#include "sdk/describe.h"

#include <nlohmann/json.hpp>

#include "sdk/json.h"

namespace rh {

namespace {

using Json = nlohmann::json;
using roundhouse::Value;
using roundhouse::detail::Callable;
using roundhouse::detail::Parameter;

// As Python would write it.
std::string text_of(const Value& value) {
    if (value.is<std::nullptr_t>()) return "None";
    if (value.is<bool>()) return value.get<bool>() ? "True" : "False";
    const auto text = json_from_value(value);
    return text ? *text : "...";
}

Json schema_of(const std::string& text) {
    Json schema = Json::parse(text, nullptr, false);
    return schema.is_object() || schema.is_boolean() ? schema : Json::object();
}

std::string name_of(const Parameter& parameter, std::size_t index) { return parameter.name.empty() ? "arg" + std::to_string(index + 1) : parameter.name; }

Json parameters_schema(const std::vector<Parameter>& parameters) {
    Json properties = Json::object();
    Json required = Json::array();
    for (std::size_t index = 0; index < parameters.size(); ++index) {
        const Parameter& parameter = parameters[index];
        Json schema = schema_of(parameter.type.schema);
        if (parameter.fallback && schema.is_object()) {
            const auto fallback = json_from_value(*parameter.fallback);
            if (fallback) schema["default"] = Json::parse(*fallback, nullptr, false);
        }
        const std::string name = name_of(parameter, index);
        properties[name] = std::move(schema);
        if (!parameter.fallback) required.push_back(name);
    }
    return {{"type", "object"}, {"properties", properties}, {"required", required}, {"additionalProperties", false}};
}

Json describe_callable(const std::vector<Callable>& overloads, const char* binding) {
    const Callable& first = overloads.front();
    Json schema{{"parameters", parameters_schema(first.parameters)}, {"returns", schema_of(first.returns.schema)}};
    std::string signature = signature_of(first.parameters, first.returns.name);
    std::string doc = first.doc;
    if (overloads.size() > 1) {
        Json parameters = Json::array();
        Json returns = Json::array();
        for (const Callable& each : overloads) {
            parameters.push_back(parameters_schema(each.parameters));
            returns.push_back(schema_of(each.returns.schema));
            doc += (doc.empty() ? "" : "\n") + signature_of(each.parameters, each.returns.name) + (each.doc.empty() || &each == &first ? "" : ": " + each.doc);
        }
        schema = {{"parameters", {{"anyOf", parameters}}}, {"returns", {{"anyOf", returns}}}};
        signature = "(*args, **kwargs)";
    }
    return {{"signature", signature}, {"doc", doc}, {"kind", first.generator ? "generator" : "sync"}, {"binding", first.is_static ? "static" : binding},
            {"sends", false}, {"schema", schema}, {"readonly", first.readonly}};
}

}  // namespace

std::string signature_of(const std::vector<Parameter>& parameters, const std::string& returns) {
    std::string text = "(";
    bool optional = false;
    for (std::size_t index = 0; index < parameters.size(); ++index) {
        const Parameter& parameter = parameters[index];
        if (index != 0) text += ", ";
        // Behind one with a default Python takes none without.
        optional = optional || parameter.fallback.has_value();
        text += name_of(parameter, index) + ": " + parameter.type.name;
        if (optional) text += " = " + (parameter.fallback ? text_of(*parameter.fallback) : "...");
        // Those without a name cannot be passed by one.
        const bool next_named = index + 1 == parameters.size() || !parameters[index + 1].name.empty();
        if (parameter.name.empty() && next_named) text += ", /";
    }
    return text + ") -> " + returns;
}

Json describe(const roundhouse::detail::Function& function) {
    const Json methods{{"call", describe_callable(function.overloads, "static")}};
    return {{"methods", methods}, {"doc", function.overloads.front().doc}};
}

Json describe(const roundhouse::detail::Class& made, bool is_instance) {
    Json methods = Json::object();
    for (const auto& [name, overloads] : made.methods) methods[name] = describe_callable(overloads, "instance");
    if (!is_instance && !made.constructors.empty()) {
        const auto& first = made.constructors.front();
        methods["__init__"] = {{"signature", made.constructors.size() == 1 ? signature_of(first.parameters, "None") : "(*args, **kwargs)"}, {"doc", made.doc}, {"kind", "sync"},
                               {"binding", "class"}, {"sends", false}, {"readonly", false}, {"schema", {{"parameters", parameters_schema(first.parameters)}, {"returns", {{"type", "null"}}}}}};
    }
    Json properties = Json::array();
    for (const auto& [name, property] : made.properties) properties.push_back(name);
    return {{"methods", methods}, {"doc", made.doc}, {"properties", properties}, {"attributes", Json::array()}};
}

}  // namespace rh
