#include "http/openapi.h"

#include <fstream>
#include <gtest/gtest.h>
#include <set>
#include <string>

#include "http/page.h"

namespace rh::http {
namespace {

using Json = nlohmann::json;

Json point(bool results) {
    Json schema = Json::parse(R"json({"type": "object", "title": "Point", "properties": {"x": {"type": "number"}, "next": {"anyOf": [{"$ref": "#/$defs/Point"}, {"type": "null"}]}}})json");
    if (results) schema["required"] = {"x"};
    return schema;
}

Json method(const Json& parameters, const Json& returns) {
    Json told = Json::parse(R"json({"signature": "(point)", "doc": "Moves it.\n\nFar away.", "kind": "sync", "binding": "instance"})json");
    told["schema"] = {{"parameters", parameters}, {"returns", returns}};
    return told;
}

Json mover(const std::string& name) {
    Json description{{"name", name}, {"kind", "instance"}, {"doc", "It moves."}};
    Json taken = Json::parse(R"json({"type": "object", "properties": {"point": {"$ref": "#/$defs/Point"}, "far": {"type": "boolean", "default": false}}, "required": ["point"]})json");
    taken["$defs"]["Point"] = point(false);
    Json given = Json::parse(R"json({"$ref": "#/$defs/Point"})json");
    given["$defs"]["Point"] = point(true);
    description["methods"]["move"] = method(taken, given);
    description["methods"]["back"] = method(taken, given);
    description["methods"]["back"]["readonly"] = true;
    description["methods"]["steps"] = method(taken, Json{{"type", "integer"}});
    description["methods"]["steps"]["kind"] = "generator";
    description["methods"]["_hidden"] = method(taken, given);
    return description;
}

void references_of(const Json& json, std::set<std::string>& found) {
    if (!json.is_array() && !json.is_object()) return;
    for (const auto& [key, value] : json.items()) {
        if (key == "$ref" && value.is_string()) found.insert(value.get<std::string>());
        references_of(value, found);
    }
}

void expect_whole(const Json& document) {
    std::set<std::string> references;
    references_of(document, references);
    for (const std::string& reference : references) {
        ASSERT_TRUE(reference.starts_with("#/")) << reference;
        EXPECT_TRUE(document.contains(Json::json_pointer(reference.substr(1)))) << reference;
    }
    std::set<std::string> ids;
    for (const auto& [path, item] : document["paths"].items()) {
        for (const auto& [verb, operation] : item.items()) {
            if (!operation.is_object() || !operation.contains("operationId")) continue;
            EXPECT_TRUE(ids.insert(operation["operationId"].get<std::string>()).second) << operation["operationId"];
        }
    }
}

TEST(OpenApi, TheServersDocumentHasTheServicesBesideEveryRoute) {
    const Json document = openapi_of_server(Json::array({mover("one"), mover("two"), Json("nonsense"), Json::object()}), "http://box:1");
    EXPECT_EQ(document["openapi"], "3.1.0");
    EXPECT_EQ(document["servers"][0]["url"], "http://box:1");
    expect_whole(document);
    EXPECT_TRUE(document["paths"].contains("/v1/services/{service}/{method}"));
    EXPECT_TRUE(document["paths"].contains("/v1/services/one/move"));
    EXPECT_TRUE(document["paths"].contains("/v1/services/two/move"));
    EXPECT_FALSE(document["paths"].contains("/v1/services/one/_hidden"));
    // The same class is told once, though several methods of two services name it; what is taken and what is given differ.
    int points = 0;
    for (const auto& [name, schema] : document["components"]["schemas"].items()) points += schema.value("title", "") == name && name.ends_with("Point") ? 1 : 0;
    EXPECT_EQ(points, 2);
    EXPECT_EQ(document["components"]["schemas"]["Point"]["properties"]["next"]["anyOf"][0]["$ref"], "#/components/schemas/Point");
}

TEST(OpenApi, AServicesDocumentHasItsMethods) {
    const Json document = openapi_of_service(mover("one"), "");
    expect_whole(document);
    EXPECT_EQ(document["info"]["title"], "one");
    EXPECT_EQ(document["paths"].size(), 3U);
    const Json& post = document["paths"]["/v1/services/one/back"]["post"];
    EXPECT_EQ(post["operationId"], "one_back");
    EXPECT_EQ(post["summary"], "Moves it.");
    EXPECT_EQ(post["description"], "Far away.");
    EXPECT_EQ(post["requestBody"]["required"], true);
    const Json& get = document["paths"]["/v1/services/one/back"]["get"];
    EXPECT_EQ(get["parameters"][0]["name"], "far");
    EXPECT_EQ(get["parameters"][0]["schema"]["type"], "boolean");
    EXPECT_EQ(get["parameters"][1]["required"], true);
    EXPECT_TRUE(get["parameters"][1].contains("content"));
    EXPECT_FALSE(document["paths"]["/v1/services/one/move"].contains("get"));
    EXPECT_EQ(document["paths"]["/v1/services/one/steps"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]["type"], "array");
}

TEST(OpenApi, AFunctionAClassAndAProgramWithoutHints) {
    Json function{{"name", "say-it"}, {"kind", "function"}};
    function["methods"]["call"] = Json::parse(R"json({"signature": "(...)", "doc": "", "kind": "sync", "binding": "static"})json");
    Json klass{{"name", "Mover"}, {"kind", "class"}};
    klass["methods"]["__init__"] = method(Json{{"type", "object"}}, Json::object());
    klass["methods"]["move"] = method(Json{{"type", "object"}}, Json::object());
    const Json document = openapi_of_server(Json::array({function, klass}), "");
    expect_whole(document);
    EXPECT_EQ(document["paths"]["/v1/services/say-it/call"]["post"]["operationId"], "call_say_it");
    EXPECT_EQ(document["paths"]["/v1/services/Mover"]["post"]["operationId"], "create_Mover");
    EXPECT_FALSE(document["paths"].contains("/v1/services/Mover/move"));
}

TEST(DocsPage, IsOnePageThatLoadsNothing) {
    const std::string page(docs_page());
    EXPECT_TRUE(page.starts_with("<!doctype html>"));
    for (const char* outside : {"src=", "@import", "url(", " onclick=", " style=", "http://", "innerHTML"}) EXPECT_EQ(page.find(outside), std::string::npos) << outside;
    EXPECT_NE(docs_page_policy().find("script-src 'sha256-"), std::string_view::npos);
    EXPECT_NE(docs_page_policy().find("style-src 'sha256-"), std::string_view::npos);
    EXPECT_EQ(docs_page_policy().find("unsafe"), std::string_view::npos);
}

}  // namespace
}  // namespace rh::http
