#include "sdk/codec.h"

#include <cmath>
#include <gtest/gtest.h>

#include "sdk/msgpack.h"

namespace rh {
namespace {

using roundhouse::Array;
using roundhouse::Blob;
using roundhouse::List;
using roundhouse::Map;
using roundhouse::Value;

Body bytes_of(std::initializer_list<int> bytes) {
    Body body;
    body.encoding = Encoding::msgpack;
    Bytes content;
    for (const int byte : bytes) *content.extend(1) = static_cast<std::byte>(byte);
    body.add(content.view());
    return body;
}

Value through(const Value& value) { return decode_value(encode_value(value).value().body()).value(); }

TEST(Codec, EveryKindOfValueComesBack) {
    const Map map{{"none", nullptr}, {"truth", true}, {"small", -32}, {"large", INT64_MIN}, {"number", 0.1}, {"text", "\xc3\xbc"}, {"bytes", Blob(3, std::byte{7})}, {"list", List{1, List{}, Map{}}}};
    const Value back = through(map);
    EXPECT_EQ(json_from_value(back).value(), json_from_value(map).value());
    EXPECT_EQ(back["large"].get<std::int64_t>(), INT64_MIN);
}

TEST(Codec, LargeArraysBeginWhereAnyNumberMayStand) {
    const Value value(List{Array::of(std::vector<double>(1000, 0.5)), "text", Array::of(std::vector<std::uint8_t>(2001, 3)), Array::of(std::vector<float>(999, 1.5F))});
    const Encoded encoded = encode_value(value).value();
    ASSERT_EQ(encoded.rest.size(), 6U);
    std::size_t at = encoded.head.size();
    for (std::size_t i = 0; i < encoded.rest.size(); ++i) {
        EXPECT_TRUE(i % 2 == 0 || at % 64 == 0) << i;
        at += encoded.rest[i].size();
    }
    // Nothing is copied until the body is made: the part is the vector's own memory.
    EXPECT_EQ(encoded.rest[1].data(), value.get<List>()[0].get<Array>().bytes().data());

    const Value back = decode_value(encoded.body()).value();
    const Array& doubles = back.get<List>()[0].get<Array>();
    const auto view = doubles.view<double>().value();
    EXPECT_EQ(static_cast<const void*>(view.data()), static_cast<const void*>(doubles.bytes().data())) << "the view looks at what was received";
    EXPECT_EQ(view[999], 0.5);
    EXPECT_EQ(back.get<List>()[3].get<Array>().as<float>().value().back(), 1.5F);
}

TEST(Codec, SmallArraysStandInTheValue) {
    const Encoded encoded = encode_value(Array::of(std::vector<double>{1, 2})).value();
    EXPECT_TRUE(encoded.rest.empty());
    EXPECT_EQ(decode_value(encoded.body()).value().get<Array>().as<double>().value(), (std::vector<double>{1, 2}));
}

TEST(Codec, TheExtensionIsThatOfTheSpecification) {
    Body body = bytes_of({0xc7, 0x08, 0x01, 0x93, 0xa3, 0x3c, 0x66, 0x38, 0x91, 0x02, 0x02});
    body.add({});
    const std::vector<double> elements{1.5, -2};
    body.add(std::as_bytes(std::span(elements)));
    EXPECT_EQ(decode_value(std::move(body)).value().get<Array>().as<double>().value(), elements);
}

TEST(Codec, WhatIsNotWellFormedIsRefused) {
    for (const auto& bytes : {std::initializer_list<int>{}, {0xc1}, {0x91}, {0xd9, 5, 'a'}, {0xdd, 0xff, 0xff, 0xff, 0xff}, {0xdf, 0xff, 0xff, 0xff, 0xff}, {0xc6, 0xff, 0xff, 0xff, 0xff},
                              {0x01, 0x01}, {0x81, 0x01, 0x02}, {0xcf, 0xff, 0, 0, 0, 0, 0, 0, 0}, {0xd4, 0x02, 0x00}, {0xc7, 0x08, 0x01, 0x93, 0xa3, 0x3c, 0x66, 0x38, 0x91, 0x02, 0x02},
                              {0xc7, 0x08, 0x01, 0x93, 0xa3, 0x3c, 0x66, 0x38, 0x91, 0xff, 0x02}, {0xc7, 0x08, 0x01, 0x93, 0xa3, 0x3c, 0x7a, 0x38, 0x91, 0x02, 0x02}}) {
        const auto value = decode_value(bytes_of(bytes));
        ASSERT_FALSE(value) << bytes.size();
        EXPECT_EQ(value.error().code, "bad_arguments");
    }
}

TEST(Codec, DepthIsBounded) {
    Body body;
    body.encoding = Encoding::msgpack;
    body.add(as_byte_view(std::string(1'000'000, '\x91')));
    EXPECT_NE(decode_value(std::move(body)).error().message.find("512"), std::string::npos);
    Body json;
    json.encoding = Encoding::json;
    json.add(as_byte_view(std::string(1'000'000, '[')));
    EXPECT_NE(decode_value(std::move(json)).error().message.find("64 levels"), std::string::npos);
    Value deep;
    for (int i = 0; i < 600; ++i) deep = List{std::move(deep)};
    EXPECT_EQ(encode_value(deep).error().code, "not_serializable");
    EXPECT_EQ(json_from_value(deep).error().code, "not_serializable");
}

TEST(Codec, TooManyLargeArraysAreRefused) {
    List list;
    for (int i = 0; i < 3000; ++i) list.emplace_back(Array::of(std::vector<double>(200)));
    EXPECT_EQ(encode_value(list).error().code, "limit_exceeded");
}

TEST(Codec, NumbersAreConvertedWhereNothingIsLost) {
    const Array integers = Array::of(std::vector<std::int64_t>{1, -2, 300});
    EXPECT_EQ(integers.as<double>().value(), (std::vector<double>{1, -2, 300}));
    EXPECT_EQ(integers.as<std::int16_t>().value(), (std::vector<std::int16_t>{1, -2, 300}));
    EXPECT_FALSE(integers.as<std::int8_t>());
    EXPECT_FALSE(integers.as<std::uint64_t>());
    EXPECT_FALSE(Array::of(std::vector<double>{1}).as<int>());
    EXPECT_TRUE(Array::of(std::vector<double>{}).as<int>()) << "of nothing nothing is lost";
    EXPECT_THROW(Array::of(std::vector<double>(5), {2, 3}), roundhouse::Failure);
}

TEST(Json, WhatIsReadIsWritten) {
    for (const char* text : {"null", "true", "-9223372036854775808", "1.0", "1e+300", "[]", "{}", R"({"a":[1,{"b":"\u0000\""}]})", R"({"$bytes":"AP8="})"}) {
        const auto value = value_from_json(text, {});
        ASSERT_TRUE(value) << text;
        EXPECT_EQ(json_from_value(*value).value(), text);
    }
    EXPECT_TRUE(value_from_json(R"({"$bytes":"AP8="})", {}).value().is<Blob>());
    EXPECT_EQ(json_from_value(std::nan("")).error().code, "not_serializable");
    EXPECT_EQ(json_from_value(Array::of(std::vector<float>{1, 2, 3, 4}, {2, 2})).value(), "[[1.0,2.0],[3.0,4.0]]");
}

TEST(Json, Base64IsThatOfEverybody) {
    for (const auto& [text, encoded] : {std::pair{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}}) {
        EXPECT_EQ(base64_from(as_byte_view(text)), encoded);
        const Blob bytes = bytes_from_base64(encoded).value();
        EXPECT_EQ(as_text(bytes), text);
    }
    EXPECT_FALSE(bytes_from_base64("Z"));
    EXPECT_FALSE(bytes_from_base64("Zg$="));
}

TEST(Npy, ComesBack) {
    const Array array = Array::of(std::vector<std::int32_t>{1, 2, 3, 4, 5, 6}, {2, 3});
    std::string file = npy_head(array);
    EXPECT_EQ(file.size() % 64, 0U);
    file += as_text(array.bytes());
    const Array back = array_from_npy(as_byte_view(file), nullptr).value();
    EXPECT_EQ(back.shape(), array.shape());
    EXPECT_EQ(back.as<std::int32_t>().value(), array.as<std::int32_t>().value());
    for (std::size_t size = 0; size < file.size(); ++size) EXPECT_FALSE(array_from_npy(as_byte_view(file).first(size), nullptr)) << size;
}

}  // namespace
}  // namespace rh
