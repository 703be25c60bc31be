#include "http/openapi.h"

#include <cctype>
#include <fmt/format.h>
#include <map>
#include <set>
#include <string>

namespace rh::http {

// tools/embed.py makes this of protocol/openapi.yaml.
extern const std::string_view k_openapi;

namespace {

using Json = nlohmann::json;

// A member of that type, or null.
const Json* member(const Json& of, const char* key, Json::value_t type) {
    if (!of.is_object()) return nullptr;
    const auto found = of.find(key);
    return found != of.end() && found->type() == type ? &*found : nullptr;
}

std::string text(const Json& of, const char* key) {
    const Json* found = member(of, key, Json::value_t::string);
    return found != nullptr ? found->get<std::string>() : std::string();
}

// What generators of clients, and the keys of components, can be called.
std::string plain_name(std::string_view name) {
    std::string plain;
    for (const char letter : name) plain += std::isalnum(static_cast<unsigned char>(letter)) != 0 || letter == '_' ? letter : '_';
    return plain.empty() ? "_" : plain;
}

// As a segment of a path.
std::string segment(std::string_view name) {
    std::string escaped;
    for (const char letter : name) {
        const auto byte = static_cast<unsigned char>(letter);
        if (std::isalnum(byte) != 0 || std::string_view("-._~").find(letter) != std::string_view::npos) {
            escaped += letter;
        } else {
            escaped += fmt::format("%{:02X}", byte);
        }
    }
    return escaped;
}

Json reference(std::string_view to) { return Json{{"$ref", fmt::format("#/components/{}", to)}}; }

Json in_json(Json schema) {
    Json content = Json::object();
    content["application/json"]["schema"] = std::move(schema);
    return content;
}

Json failure(std::string_view description, std::string_view type, std::string_view code, std::string_view message) {
    Json error{{"type", type}, {"code", code}, {"message", message}};
    if (code == "raised") error["traceback"] = "Traceback (most recent call last):\n  ...\n";
    Json content = in_json(reference("schemas/Failure"));
    content["application/json"]["example"]["error"] = std::move(error);
    Json response{{"description", description}};
    response["content"] = std::move(content);
    return response;
}

// Adds the paths of services to a document.
class Paths {
public:
    explicit Paths(Json& document, Json every_service) : document_(document), every_service_(std::move(every_service)) {
        for (const auto& [path, item] : document["paths"].items()) {
            for (const auto& [verb, operation] : item.items()) ids_.insert(text(operation, "operationId"));
        }
    }

    void add(const Json& description) {
        const std::string name = text(description, "name");
        const Json* methods = member(description, "methods", Json::value_t::object);
        if (name.empty() || methods == nullptr) return;
        const std::string kind = text(description, "kind");
        Json tag{{"name", name}};
        if (const std::string doc = text(description, "doc"); !doc.empty()) tag["description"] = doc;
        tag["x-kind"] = kind;
        document_["tags"].push_back(std::move(tag));
        for (const auto& [method, told] : methods->items()) {
            const bool constructor = method == "__init__";
            // A class is asked for an instance; what needs one is the instance's.
            if (constructor ? kind != "class" : kind == "class" && text(told, "binding") == "instance") continue;
            if (method.starts_with('_') && !constructor && method != "__call__") continue;
            add_method(name, method, told, constructor);
        }
    }

private:
    Json& document_;
    // The routes of /v1/services/{service}.
    const Json every_service_;
    std::set<std::string> ids_;
    // What the classes that schemas name are called here, by all that they are made of.
    std::map<std::string, std::string> known_;

    void add_method(const std::string& service, const std::string& method, const Json& told, bool constructor) {
        const Json* schema = member(told, "schema", Json::value_t::object);
        const Json* taken = schema != nullptr ? member(*schema, "parameters", Json::value_t::object) : nullptr;
        const Json* given = schema != nullptr ? member(*schema, "returns", Json::value_t::object) : nullptr;
        const Json parameters = taken != nullptr ? hoisted(*taken, service) : reference("schemas/Arguments");
        const Json returns = given != nullptr ? hoisted(*given, service) : Json::object();
        const std::string path = constructor ? fmt::format("/v1/services/{}", segment(service)) : fmt::format("/v1/services/{}/{}", segment(service), segment(method));
        const std::string id = constructor ? fmt::format("create_{}", plain_name(service))
                               : method == "call" || method == "__call__" ? fmt::format("call_{}", plain_name(service))
                                                                         : fmt::format("{}_{}", plain_name(service), plain_name(method));
        Json& item = document_["paths"][path];
        Json& post = item["post"] = operation(service, method, told, id);
        for (const char* which : {"Remote", "Timeout", "Name"}) post["parameters"].push_back(reference(fmt::format("parameters/{}", which)));
        const Json* required = member(parameters, "required", Json::value_t::array);
        post["requestBody"]["required"] = required != nullptr && !required->empty();
        post["requestBody"]["content"] = in_json(parameters);
        post["responses"] = responses(told, returns, constructor);
        if (constructor) add_what_every_service_has(item, service);
        const auto readonly = told.find("readonly");
        if (readonly == told.end() || *readonly != true || constructor) return;
        Json& get = item["get"] = operation(service, method, told, id + "_by_get");
        get["parameters"] = query_of(parameters);
        get["responses"] = responses(told, returns, false);
        get["responses"].erase("201");
    }

    // Where a path is written out, nobody looks at the one with {service} in it.
    void add_what_every_service_has(Json& item, const std::string& service) {
        for (const char* verb : {"get", "delete"}) {
            Json& same = item[verb] = every_service_[verb];
            same["operationId"] = unique_id(fmt::format("{}_{}", text(same, "operationId"), plain_name(service)));
        }
    }

    std::string unique_id(const std::string& id) {
        std::string unique = id;
        for (int more = 2; !ids_.insert(unique).second; ++more) unique = fmt::format("{}_{}", id, more);
        return unique;
    }

    Json operation(const std::string& service, const std::string& method, const Json& told, const std::string& id) {
        const std::string unique = unique_id(id);
        const std::string doc = text(told, "doc");
        const std::size_t line = doc.find('\n');
        Json made{{"operationId", unique}, {"tags", {service}}, {"x-service", service}, {"x-method", method}, {"x-kind", text(told, "kind")}};
        made["x-signature"] = text(told, "signature");
        made["summary"] = doc.empty() ? (method == "__init__" ? fmt::format("Make a {}", service) : method == "call" ? service : method) : doc.substr(0, line);
        const std::size_t rest = line != std::string::npos ? doc.find_first_not_of('\n', line) : line;
        if (rest != std::string::npos) made["description"] = doc.substr(rest);
        return made;
    }

    static Json responses(const Json& told, const Json& returns, bool constructor) {
        Json all = Json::object();
        if (constructor) {
            all["201"] = {{"description", "The instance was made."}};
            all["201"]["headers"]["Location"] = reference("headers/Location");
            all["201"]["content"] = in_json(reference("schemas/Description"));
        } else {
            const bool streams = text(told, "kind").ends_with("generator");
            Json& value = all["200"];
            value["description"] = streams ? "What it yields, as it comes." : "What it returned.";
            const Json* properties = member(returns, "properties", Json::value_t::object);
            const bool bytes = properties != nullptr && properties->contains("$bytes") && !streams;
            if (!bytes) value["content"] = in_json(streams ? Json{{"type", "array"}, {"items", returns}} : returns);
            if (bytes || (returns.empty() && !streams)) value["content"]["application/octet-stream"]["schema"] = Json::object();
            if (!streams) value["content"]["application/x-npy"]["schema"] = Json::object();
            for (const char* type : {"text/event-stream", "application/x-ndjson"}) value["content"][type]["schema"]["type"] = "string";
            all["201"] = reference("responses/Kept");
        }
        all["422"] = failure("The arguments do not fit.", "WrongArguments", "bad_arguments", "argument 'x' must be int, not the text 'many'");
        all["500"] = failure("It raised an exception.", "ValueError", "raised", "what it says");
        all["default"] = reference("responses/Failure");
        return all;
    }

    // The named arguments, each as one of a query.
    static Json query_of(const Json& parameters) {
        Json query = Json::array();
        const Json* properties = member(parameters, "properties", Json::value_t::object);
        if (properties == nullptr) return query;
        std::set<std::string> required;
        if (const Json* names = member(parameters, "required", Json::value_t::array)) {
            for (const Json& name : *names) {
                if (name.is_string()) required.insert(name.get<std::string>());
            }
        }
        for (const auto& [name, schema] : properties->items()) {
            if (name == "*") continue;
            Json each{{"name", name}, {"in", "query"}, {"required", required.contains(name)}};
            const bool is_text = schema.contains("enum") || (schema.contains("type") && schema["type"].is_string() && schema["type"] != "object" && schema["type"] != "array");
            // What is not said in one word is said as JSON.
            if (is_text) {
                each["schema"] = schema;
            } else {
                each["content"] = in_json(schema);
            }
            query.push_back(std::move(each));
        }
        return query;
    }

    // The schema with the classes that it names among the document's components.
    Json hoisted(Json schema, const std::string& service) {
        const Json* found = member(schema, "$defs", Json::value_t::object);
        if (found == nullptr) return schema;
        const Json definitions = *found;
        schema.erase("$defs");
        std::map<std::string, std::string> names;
        std::set<std::string> added;
        for (const auto& [name, definition] : definitions.items()) {
            std::set<std::string> reached{name};
            reach(definition, definitions, reached);
            std::string whole = name;
            for (const std::string& each : reached) whole += definitions[each].dump();
            auto known = known_.find(whole);
            if (known == known_.end()) {
                known = known_.emplace(whole, free_name(name, service)).first;
                document_["components"]["schemas"][known->second] = Json::object();
                added.insert(name);
            }
            names[name] = known->second;
        }
        for (const std::string& name : added) {
            Json& component = document_["components"]["schemas"][names[name]] = renamed(definitions[name], names);
            // Generators call classes by their titles, so no two have the same.
            if (component.contains("title") && names[name] != plain_name(name)) component["title"] = names[name];
        }
        return renamed(std::move(schema), names);
    }

    std::string free_name(const std::string& name, const std::string& service) const {
        const Json& taken = document_["components"]["schemas"];
        std::string free = plain_name(name);
        if (!taken.contains(free)) return free;
        const std::string stem = free = fmt::format("{}_{}", plain_name(service), plain_name(name));
        for (int more = 2; taken.contains(free); ++more) free = fmt::format("{}_{}", stem, more);
        return free;
    }

    static constexpr std::string_view k_definitions = "#/$defs/";

    static void reach(const Json& schema, const Json& definitions, std::set<std::string>& reached) {
        if (schema.is_array() || schema.is_object()) {
            for (const auto& [key, value] : schema.items()) {
                if (key == "$ref" && value.is_string() && value.get_ref<const std::string&>().starts_with(k_definitions)) {
                    const std::string name = value.get<std::string>().substr(k_definitions.size());
                    if (definitions.contains(name) && reached.insert(name).second) reach(definitions[name], definitions, reached);
                } else {
                    reach(value, definitions, reached);
                }
            }
        }
    }

    static Json renamed(Json schema, const std::map<std::string, std::string>& names) {
        if (!schema.is_array() && !schema.is_object()) return schema;
        for (auto& [key, value] : schema.items()) {
            if (key == "$ref" && value.is_string() && value.get_ref<const std::string&>().starts_with(k_definitions)) {
                const auto name = names.find(value.get<std::string>().substr(k_definitions.size()));
                value = name != names.end() ? Json(fmt::format("#/components/schemas/{}", name->second)) : value;
            } else {
                value = renamed(std::move(value), names);
            }
        }
        return schema;
    }
};

Json document(std::string_view url) {
    Json made = Json::parse(k_openapi);
    made["info"]["version"] = ROUNDHOUSE_VERSION;
    if (!url.empty()) made["servers"] = Json::array({Json{{"url", url}}});
    return made;
}

}  // namespace

Json openapi_of_server(const Json& descriptions, std::string_view url) {
    Json made = document(url);
    Paths paths(made, made["paths"]["/v1/services/{service}"]);
    if (descriptions.is_array()) {
        for (const Json& description : descriptions) paths.add(description);
    }
    return made;
}

Json openapi_of_service(const Json& description, std::string_view url) {
    Json made = document(url);
    Json every_service = made["paths"]["/v1/services/{service}"];
    made["paths"] = Json::object();
    made["tags"] = Json::array();
    const std::string name = text(description, "name");
    made["info"]["title"] = name;
    made["info"]["summary"] = fmt::format("The {} {} on a Roundhouse node.", text(description, "kind"), name);
    if (const std::string doc = text(description, "doc"); !doc.empty()) made["info"]["description"] = doc;
    Paths(made, std::move(every_service)).add(description);
    return made;
}

}  // namespace rh::http
