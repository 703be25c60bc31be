#include "wire/convert.h"

#include <gtest/gtest.h>
#include <limits>

#include "base/limits.h"

namespace rh::wire {
namespace {

// What the peer gets: the message after a journey through a frame.
class Taker final : public FrameDecoder::Sink {
public:
    Result<void> on_message(Message& message, ByteView) override {
        taken.Swap(&message);
        ++count;
        return {};
    }
    Message taken;
    int count = 0;
};

Message travel(Message message) {
    Bytes bytes;
    append_message(bytes, message, {});
    FrameDecoder decoder;
    Taker taker;
    const Result<void> fed = decoder.feed(bytes.view(), taker);
    EXPECT_TRUE(fed) << (fed ? "" : fed.error().message);
    EXPECT_EQ(taker.count, 1);
    return taker.taken;
}

TEST(Convert, ErrorsComeBackWhole) {
    for (std::uint16_t number = 0; number <= static_cast<std::uint16_t>(Code::unsupported); ++number) {
        Message message;
        message.set_kind(ABORT);
        set_error(message, Error(static_cast<Code>(number), "what failed").with("signal", "9").with("stderr_tail", "last\nwords"));
        const Error error = error_of(travel(message));
        EXPECT_EQ(error.code, static_cast<Code>(number));
        EXPECT_EQ(error.message, "what failed");
        EXPECT_EQ(error.fact("signal"), "9");
        EXPECT_EQ(error.fact("stderr_tail"), "last\nwords");
    }
}

TEST(Convert, ACodeOfANewerPeerIsUnknown) {
    Message message;
    message.mutable_error()->set_code(60000);
    message.mutable_error()->set_message("new");
    EXPECT_EQ(error_of(message).code, Code::unknown);
    EXPECT_EQ(error_of(message).message, "new");
}

TEST(Convert, AnErrorFitsItsFrameWhateverWasCollected) {
    Error error(Code::worker_died, std::string(1'000'000, 'm'));
    error.context.emplace_back("signal", "9");
    for (int i = 0; i < 2000; ++i) error.context.emplace_back(std::string(1000, 'k'), std::string(300'000, 'v'));
    error.context.emplace_back("broken \xff key", "x");
    Message message;
    message.set_kind(RESULT);
    set_error(message, error);
    const Error back = error_of(travel(message));
    EXPECT_EQ(back.fact("signal"), "9");
    EXPECT_LE(back.message.size(), limits::k_error_text_bytes_max);
    EXPECT_LE(message.ByteSizeLong(), limits::k_frame_header_bytes_max);
}

TEST(Convert, AStderrTailDoesNotCrowdOutTheFactsBehindIt) {
    Message message;
    set_error(message, Error(Code::worker_died, "m").with("stderr_tail", std::string(100'000, 'e')).with("exit_code", "3").with("started", "yes"));
    const Error back = error_of(message);
    EXPECT_EQ(back.fact("stderr_tail").size(), limits::k_stderr_tail_bytes);
    EXPECT_EQ(back.fact("exit_code"), "3");
    EXPECT_EQ(back.fact("started"), "yes");
}

TEST(Convert, OutcomesComeBackWhole) {
    Message returned = travel(result_message(rh::Outcome::returned(Body::one(rh::Encoding::json, as_byte_view("{}")))));
    EXPECT_EQ(returned.kind(), RESULT);
    EXPECT_EQ(whole_body_bytes(returned).value(), 2u);
    Body body;
    take_description(returned, body);
    EXPECT_EQ(body.encoding, rh::Encoding::json);
    ASSERT_EQ(body.part_bytes, std::vector<std::uint64_t>{2});
    EXPECT_EQ(outcome_of(returned, std::move(body)).kind, rh::Outcome::Kind::returned);

    rh::Outcome raised;
    raised.kind = rh::Outcome::Kind::raised;
    raised.raised = {"m.E", "no\xff", "Traceback"};
    Message message = travel(result_message(raised));
    const rh::Outcome back = outcome_of(message, {});
    EXPECT_EQ(back.kind, rh::Outcome::Kind::raised);
    EXPECT_EQ(back.raised.type, "m.E");
    EXPECT_EQ(back.raised.message, "no?");
    EXPECT_EQ(back.raised.traceback, "Traceback");

    message = travel(result_message(rh::Outcome::failed(Error(Code::timeout, "late").with("started", "yes"))));
    const rh::Outcome failed = outcome_of(message, {});
    EXPECT_EQ(failed.kind, rh::Outcome::Kind::failed);
    EXPECT_EQ(failed.error.code, Code::timeout);
    EXPECT_EQ(failed.error.fact("started"), "yes");
}

TEST(Convert, NumbersOfANewerPeerAreNeverTakenForOtherOnes) {
    Message message;
    message.set_outcome(static_cast<Ending>(256));  // cut to 8 bits this would be RETURNED
    EXPECT_EQ(outcome_of(message, {}).kind, rh::Outcome::Kind::failed);
    message.set_encoding(static_cast<Encoding>(257));  // and this PICKLE
    Body body;
    take_description(message, body);
    EXPECT_EQ(body.encoding, rh::Encoding::empty);
}

TEST(Convert, WholeBodyBytesNeverOverflows) {
    Message message;
    EXPECT_EQ(whole_body_bytes(message).value(), 0u);
    message.add_parts(limits::k_body_bytes_max);
    EXPECT_EQ(whole_body_bytes(message).value(), limits::k_body_bytes_max);
    message.add_parts(1);
    EXPECT_EQ(whole_body_bytes(message).error().code, Code::protocol);
    message.clear_parts();
    message.add_parts(2);
    message.add_parts(std::numeric_limits<std::uint64_t>::max());
    EXPECT_FALSE(whole_body_bytes(message));
    message.clear_parts();
    message.add_parts(std::numeric_limits<std::uint64_t>::max() / 2 + 1);
    message.add_parts(std::numeric_limits<std::uint64_t>::max() / 2 + 1);
    EXPECT_FALSE(whole_body_bytes(message));
}

TEST(Convert, PartsAreBounded) {
    Message message;
    for (std::size_t i = 0; i < limits::k_body_parts_max; ++i) message.add_parts(1);
    EXPECT_EQ(whole_body_bytes(message).value(), limits::k_body_parts_max);
    message.add_parts(0);
    EXPECT_FALSE(whole_body_bytes(message));
}

TEST(Convert, WhatCannotBeSentIsRefusedBeforehand) {
    Message message;
    message.set_service("fit");
    EXPECT_TRUE(check_sendable(message, limits::k_body_parts_max));
    EXPECT_EQ(check_sendable(message, limits::k_body_parts_max + 1).error().code, Code::limit_exceeded);
    message.set_method("na\xc3\xafve");
    EXPECT_TRUE(check_sendable(message, 1));
    message.set_method("na\xefve");
    EXPECT_EQ(check_sendable(message, 1).error().code, Code::invalid_name);
    message.set_method(std::string(limits::k_frame_header_bytes_max, 'm'));
    EXPECT_EQ(check_sendable(message, 1).error().code, Code::limit_exceeded);
    // The largest that passes fits its frame.
    message.set_method(std::string(limits::k_frame_header_bytes_max - 100 - 6 * limits::k_body_parts_max, 'm'));
    ASSERT_TRUE(check_sendable(message, limits::k_body_parts_max));
    for (std::size_t i = 0; i < limits::k_body_parts_max; ++i) message.add_parts(limits::k_body_bytes_max / limits::k_body_parts_max);
    message.set_stream(~std::uint64_t{0});
    travel(message);
}

TEST(KeepEnd, KeepsShortTextsAsTheyAre) {
    EXPECT_EQ(keep_end("", 10), "");
    EXPECT_EQ(keep_end("0123456789", 10), "0123456789");
    EXPECT_EQ(keep_end("tra\xc3\xaene \xe2\x82\xac \xf0\x9f\x9a\x82", 100), "tra\xc3\xaene \xe2\x82\xac \xf0\x9f\x9a\x82");
    EXPECT_EQ(keep_end(std::string_view("a\0b", 3), 100), std::string_view("a\0b", 3));
}

TEST(KeepEnd, KeepsTheEndAndMarksTheCut) {
    const std::string kept = keep_end(std::string(1000, 'a') + "END", 100);
    EXPECT_EQ(kept.size(), 100u);
    EXPECT_EQ(kept.rfind("[... cut ...]\n", 0), 0u);
    EXPECT_EQ(kept.substr(97), "END");
}

TEST(KeepEnd, CutsInsideACharacterAreClean) {
    std::string trains;
    for (int i = 0; i < 50; ++i) trains += "\xf0\x9f\x9a\x82";
    for (std::size_t bytes_max = 0; bytes_max <= trains.size(); ++bytes_max) {
        const std::string kept = keep_end(trains, bytes_max);
        EXPECT_LE(kept.size(), bytes_max);
        EXPECT_EQ(kept.find('?'), std::string::npos) << bytes_max;
        Message message;
        message.set_service(kept);
        EXPECT_EQ(travel(message).service(), kept);
    }
}

TEST(KeepEnd, WhatIsNotUtf8NeverBreaksAFrame) {
    // Lone continuation, truncated, overlong (2, 3 and 4 bytes), surrogate, beyond U+10FFFF, never a lead byte.
    for (const std::string_view broken : {"\x80", "\xc3", "\xe2\x82", "\xc0\xaf", "\xe0\x80\xaf", "\xf0\x80\x80\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xff\xfe"}) {
        const std::string kept = keep_end(std::string("a") + std::string(broken) + "z", 100);
        EXPECT_EQ(kept.front(), 'a');
        EXPECT_EQ(kept.back(), 'z');
        EXPECT_NE(kept.find('?'), std::string::npos);
        Message message;
        message.set_service(kept);
        EXPECT_EQ(travel(message).service(), kept);
    }
    std::string all;
    for (int i = 0; i < 65536; ++i) {
        all += static_cast<char>(i >> 8);
        all += static_cast<char>(i);
    }
    Message message;
    message.set_service(keep_end(all, 100'000));
    EXPECT_EQ(travel(message).service(), message.service());
}

}  // namespace
}  // namespace rh::wire
